"""The figures that decide, most of them ratios: what each means, what is aimed at, and what limits it.

A key is public: `benchmarks/results/latest.json` has one number under each.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.sizes import FULL
from worker.dispatcher import SLOTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number: where it comes from and how it is said. `most` and `least` are its goals, if it has any.

    `once`: it is measured once in a run, not in each round.
    """

    key: str
    scenario: str
    what: str
    unit: str = ""
    most: float | None = None
    least: float | None = None
    limited_by: str = ""
    once: bool = False

    @property
    def goal(self) -> str:
        """What is aimed at, as text; empty for a figure that only informs."""
        if self.most is not None:
            return f"≤ {said(self.most, unit=self.unit)}"
        return "" if self.least is None else f"≥ {said(self.least, unit=self.unit)}"

    def reaches(self, value: float) -> bool:
        """Say whether a value is within the goal."""
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


def said(value: float, *, unit: str) -> str:
    """Return a number as a table shows it: three digits, and its unit."""
    if unit == "%":
        return f"{value * 100:.3g} %"
    digits = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{digits}{unit}" if unit == "×" else f"{digits} {unit}".rstrip()


HEALTHY = (
    f"webhooks at the healthy receivers in the {FULL.slow_s:g} s from the moment at which {{share}} begin to "
    "hang, over those of a run in which none does"
)
RATIOS = (
    Figure(
        key="cpu_ratio_afternoon_over_ours",
        scenario="end_to_end",
        what="CPU of the worker's processes for a task: the afternoon script's, over ours",
        unit="×",
        least=20,
        limited_by="ours: the POST and its record, since a hundred polls share a request",
    ),
    Figure(
        key="cpu_ratio_afternoon_over_ours_all_in",
        scenario="end_to_end",
        what="the same with all that each runs: worker and broker, over worker, Beat, database and broker",
        unit="×",
        limited_by="ours: the database, in which every step is a row; the afternoon script keeps none",
    ),
    Figure(
        key="requests_ratio_afternoon_over_ours",
        scenario="end_to_end",
        what="gateway requests for a task: the afternoon script's, over ours",
        unit="×",
        least=25,
        limited_by="ours: the gateways' limit of 100 ids in a request",
    ),
    Figure(
        key="task_cpu_over_bare_post",
        scenario="end_to_end",
        what="worker CPU of a task (polls, record, sign, POST, record, log; its enqueueing apart), over "
        "that of one bare POST by httpx over aiohttp",
        unit="×",
        most=1.5,
        limited_by="SQL through SQLAlchemy for three records and two claims, then log lines, then the POST",
    ),
    Figure(
        key="task_cpu_over_bare_post_all_in",
        scenario="end_to_end",
        what="CPU of a task, worker, Beat, database (its enqueueing too) and broker, over one bare POST's",
        unit="×",
        limited_by="worker and database, about evenly",
    ),
    Figure(
        key="delivery_cpu_over_bare_post",
        scenario="delivery",
        what="worker CPU of a delivery (claim, sign, POST, judge, record, log), over that of one bare POST",
        unit="×",
        most=1.3,
        limited_by="the POST is a quarter of it; the record, the claim and the log line are most of the rest",
    ),
    Figure(
        key="delivery_cpu_over_bare_post_all_in",
        scenario="delivery",
        what="worker and database CPU of a delivery, over that of one bare POST",
        unit="×",
        limited_by="the same, and what the database does for its claim and its record",
    ),
    Figure(
        key="rate_ratio_ours_over_django_outbound_webhooks",
        scenario="peers",
        what="deliveries a second to one receiver, our one worker over 4 relays of django-outbound-webhooks",
        unit="×",
        least=20,
        limited_by="theirs: a client with its TLS context built for each delivery, one at a time in a relay",
    ),
    Figure(
        key="rate_ratio_ours_over_django_webhook",
        scenario="peers",
        what="deliveries a second to one receiver, our one worker over django-webhook as its documents set "
        "it up, with 8 processes",
        unit="×",
        least=20,
        limited_by="ours: to one receiver 64 in flight at most, which wait for each record; theirs: for each "
        "delivery a Celery task and new connections to database and receiver",
    ),
    Figure(
        key="rate_ratio_ours_spread_over_django_webhook",
        scenario="peers",
        what=f"the same, ours to {FULL.our_hosts} receivers",
        unit="×",
        limited_by="ours: one process, whose threads share a core; theirs: the same",
    ),
    Figure(
        key="rate_ratio_ours_over_django_webhook_tuned",
        scenario="peers",
        what="to one receiver, over django-webhook with kept database connections and the faster of "
        "8 processes and 64 threads",
        unit="×",
        limited_by="theirs: for each delivery a Celery task and a new connection to the receiver",
    ),
    Figure(
        key="sweep_cost_ratio_1e6_over_1e4",
        scenario="sweep",
        what="CPU of an unchanged poll at 1,000,000 pending, over that at 10,000",
        unit="×",
        most=1.2,
        limited_by="the database's cache: 128 MiB of shared buffers, its default",
    ),
    Figure(
        key="sweep_cost_ratio_over_single_get",
        scenario="sweep",
        what="CPU of an unchanged poll at 1,000,000 pending, over that of one GET by the bare client",
        unit="×",
        limited_by="reading the ids from the database and the answer from JSON",
    ),
    Figure(
        key="sweep_us_per_task_1e6",
        scenario="sweep",
        what="CPU of an unchanged poll at 1,000,000 pending, worker and database together",
        unit="µs",
        most=20,
        limited_by="reading the tasks' rows and the answer; claim and record are 11 statements for 400 tasks",
    ),
    Figure(
        key="task_row_writes_per_unchanged_poll",
        scenario="sweep",
        what="rows of tasks written by an unchanged poll",
        most=0,
        limited_by="nothing: what is scheduled is the batch",
    ),
    Figure(
        key="table_growth_20_sweeps",
        scenario="sweep",
        what="size of tables and indexes after 20 sweeps, over that before",
        unit="×",
        most=1.1,
        once=True,
        limited_by="autovacuum's pace: a sweep writes the rows of batches twice, and no other",
    ),
    Figure(
        key="batch_table_growth_20_sweeps",
        scenario="sweep",
        what=f"the table of batches alone ({FULL.growth_pending // 100:,} rows), which is all that a sweep "
        "writes, after 20 sweeps, over that before",
        unit="×",
        once=True,
        limited_by="the same: what a sweep leaves behind stays until autovacuum comes",
    ),
    Figure(
        key="batch_table_growth_100_sweeps",
        scenario="sweep",
        what="and after 100 sweeps",
        unit="×",
        once=True,
        limited_by="the same: what autovacuum has freed is used again",
    ),
    Figure(
        key="healthy_share_5pct_hanging",
        scenario="slow",
        what=HEALTHY.format(share="5 %"),
        unit="%",
        least=0.95,
        limited_by="slots: those that hang hold theirs until their requests' timeout, then breakers open",
    ),
    Figure(
        key="healthy_share_20pct_hanging",
        scenario="slow",
        what=HEALTHY.format(share="20 %"),
        unit="%",
        least=0.9,
        limited_by="the same",
    ),
    Figure(
        key="latency_p99_over_interval_s",
        scenario="latency",
        what="completion to webhook, p99, beyond the poll interval of 10 s",
        unit="s",
        most=2,
        limited_by="the interval's jitter of up to 10 %, and Beat's tick of 1 s",
    ),
    Figure(
        key="latency_own_share_p99_ms",
        scenario="latency",
        what="answer of the gateway to POST at the receiver, p99",
        unit="ms",
        most=50,
        limited_by="the two transactions between them: the record of the answer, the claim of the delivery",
    ),
    Figure(
        key="idle_core_share",
        scenario="idle",
        what="share of a core for all processes of `up` with nothing to do",
        unit="%",
        most=0.04,
        limited_by="two ticks of Beat a second, each through the broker to a claim",
    ),
    Figure(
        key="busy_worker_memory_mib",
        scenario="busy",
        what=f"memory of a worker of `up` with 1,000,000 pending and its {SLOTS:,} slots full of receivers "
        "that hang, over plain HTTP",
        unit="MiB",
        most=114,
        limited_by="the modules that it imports; by `celery -A worker worker` they take 12 MiB more",
    ),
    Figure(
        key="scale_ratio_2_over_1_workers",
        scenario="scale",
        what="deliveries a second with 2 worker processes, over 1",
        unit="×",
        limited_by="the cores, which workers, database and receiver share here",
    ),
    Figure(
        key="enqueue_file_per_s",
        scenario="enqueue",
        what="lines a second of `enqueue --file`, its start included",
        least=5_000,
        limited_by="one process that checks, and inserts 500 lines in a transaction",
    ),
)
