"""What large installations need, computed from the measured figures: docs/capacity.md says nothing else.

The model is linear: CPU for a poll and for a finished task, times how many there are in a second. A task that
was measured end to end was polled less often than one that lives as long as is assumed: the polls that it did
not have are added, at what a poll in vain costs. What the model leaves out stands among its assumptions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from benchmarks.capacity_text import TEXT
from benchmarks.figures import said
from benchmarks.report import table
from benchmarks.results import Results
from worker.core.schedule import poll_interval

LIFE = timedelta(minutes=4)
INTERVAL = timedelta(seconds=10)
BUSY = 0.6  # share of a core that a process or the database may use in the long run
LATENCY_S = 1.0  # of a gateway's answer to 100 ids
BATCH = 100
PENDING = (1_000_000, 10_000_000)
COMPLETIONS = (1_000, 10_000)
DAY_S = 86_400
WAIT_S = 60  # of messages that wait in the broker
RETENTION_DAYS = 30
NEEDED = (
    "sweep_worker_us_per_task_1e6",
    "sweep_database_us_per_task_1e6",
    "sweep_wal_bytes_per_task_1e6",
    "end_to_end_ours_requests",
    "end_to_end_ours_worker_ms",
    "end_to_end_ours_database_ms",
    "end_to_end_ours_broker_ms",
    "end_to_end_ours_wal_bytes",
    "end_to_end_ours_table_bytes",
    "enqueue_message_broker_bytes",
    "idle_memory_broker_mib",
)


def polls_of_a_task() -> int:
    """Return how often a task is polled in its life."""
    polls, age = 0, timedelta(0)
    while age < LIFE:
        age += poll_interval(age=age, interval=INTERVAL)
        polls += 1
    return polls


def with_headroom(cores: float) -> str:
    """Return cores at full use, and how many, or processes of one core each, are to be kept below it."""
    return f"{said(cores, unit='')} → {max(1, math.ceil(round(cores / BUSY, 9)))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one task costs from its row to its delivered webhook."""

    worker_s: float
    database_s: float
    broker_s: float
    wal_bytes: float
    table_bytes: float


def whole_task(flat: Mapping[str, float]) -> Task:
    """Return what was measured end to end, and the polls in vain of a longer life on top of it."""
    polled = flat["end_to_end_ours_requests"] * BATCH  # of a request, each of a hundred tasks has a share
    more = max(0.0, polls_of_a_task() - polled)
    return Task(
        worker_s=flat["end_to_end_ours_worker_ms"] / 1e3 + more * flat["sweep_worker_us_per_task_1e6"] / 1e6,
        database_s=flat["end_to_end_ours_database_ms"] / 1e3
        + more * flat["sweep_database_us_per_task_1e6"] / 1e6,
        broker_s=flat["end_to_end_ours_broker_ms"] / 1e3,
        wal_bytes=flat["end_to_end_ours_wal_bytes"] + more * flat["sweep_wal_bytes_per_task_1e6"],
        table_bytes=flat["end_to_end_ours_table_bytes"],
    )


def pending_rows(flat: Mapping[str, float]) -> list[list[str]]:
    """Return what polling costs at each number of pending tasks."""
    rows = []
    for pending in PENDING:
        polls = pending * polls_of_a_task() / LIFE.total_seconds()
        worker = polls * flat["sweep_worker_us_per_task_1e6"] / 1e6
        database = polls * flat["sweep_database_us_per_task_1e6"] / 1e6
        wal = polls * flat["sweep_wal_bytes_per_task_1e6"] / 1e6
        requests = polls / BATCH
        rows.append(
            [
                f"{pending:,}",
                f"{polls:,.0f}",
                f"{requests:,.0f}",
                f"{requests * LATENCY_S:,.0f}",
                with_headroom(worker),
                with_headroom(database),
                said(wal, unit="MB"),
            ]
        )
    return rows


def completion_rows(flat: Mapping[str, float]) -> list[list[str]]:
    """Return what finishing and delivering costs at each rate."""
    rows, task = [], whole_task(flat)
    for rate in COMPLETIONS:
        disk = rate * DAY_S * task.table_bytes / 1e9
        waiting = rate * WAIT_S * flat["enqueue_message_broker_bytes"] / 2**20
        rows.append(
            [
                f"{rate:,}",
                f"{rate * LIFE.total_seconds():,.0f}",
                with_headroom(rate * task.worker_s),
                with_headroom(rate * task.database_s),
                said(rate * task.broker_s, unit=""),
                said(flat["idle_memory_broker_mib"] + waiting, unit="MiB"),
                said(rate * task.wal_bytes / 1e6, unit="MB"),
                said(disk, unit="GB"),
                said(disk * RETENTION_DAYS / 1_000, unit="TB"),
            ]
        )
    return rows


def document(results: Results) -> str:
    """Return the whole of docs/capacity.md."""
    missing = [key for key in NEEDED if not isinstance(results.get(key), (int, float))]
    if missing:
        return f"# Capacity\n\nNot computed: `make bench` has yet to measure {', '.join(missing)}.\n"
    flat = {key: float(results[key]) for key in NEEDED}
    rate = COMPLETIONS[-1]
    polling: Sequence[str] = (
        "pending", "polls/s", "gateway requests/s", "of them at once", "worker cores → processes",
        "database cores → to have", "WAL/s",
    )  # fmt: skip
    finishing: Sequence[str] = (
        "completions/s", "pending meanwhile", "worker cores → processes", "database cores → to have",
        "Redis cores", "Redis memory", "WAL/s", "tables/day", f"tables in {RETENTION_DAYS} days",
    )  # fmt: skip
    return TEXT.format(
        machine=results.get("machine", "an unknown machine"),
        life=LIFE.total_seconds() / 60,
        interval=INTERVAL.total_seconds(),
        polls=polls_of_a_task(),
        busy=f"{BUSY * 100:.0f} %",
        latency=LATENCY_S,
        polled=flat["end_to_end_ours_requests"] * BATCH,
        wait=WAIT_S,
        message=flat["enqueue_message_broker_bytes"],
        polling=table(polling, pending_rows(flat)),
        finishing=table(finishing, completion_rows(flat)),
        days=RETENTION_DAYS,
        rate=rate,
        rows=f"{rate * DAY_S * RETENTION_DAYS / 1e9:.0f}",
    )
