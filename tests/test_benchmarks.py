"""The benchmark measures what it says, loses nothing, and README says what it found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from urllib.request import Request as UrlRequest
from urllib.request import urlopen
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import Engine, func, literal, select, text

from benchmarks.__main__ import run
from benchmarks.absolutes import ABSOLUTES
from benchmarks.accounting import cpu_seconds
from benchmarks.capacity import NEEDED, completion_rows, document, pending_rows, with_headroom
from benchmarks.figures import RATIOS
from benchmarks.fill import fill
from benchmarks.gateway import task_id
from benchmarks.machine import machine_line
from benchmarks.outbox import together
from benchmarks.plot import svg
from benchmarks.programs import peer
from benchmarks.publish import CAPACITY, READMES, with_block
from benchmarks.report import markdown
from benchmarks.results import is_figure, load, merged
from benchmarks.scenarios import SCENARIOS
from benchmarks.sizes import FULL, QUICK
from benchmarks.slow import rate
from benchmarks.sweep import batches, on_postgresql, on_sqlite, rows
from benchmarks.wire import ask, came_once
from tests.measured import CHEAP, measured
from tests.processes import children
from worker.core.lifecycle import Seen, Status
from worker.core.wire import Good, read_batch
from worker.db.models import PollBatch, SunoTask
from worker.db.session import make_engine

PENDING = 1_000


def filled(url: str) -> Engine:
    """Return a database with 1,000 pending and as many finished tasks."""
    engine = make_engine(url)
    fill(engine, pending=PENDING)
    return engine


def rows_written(engine: Engine, table: str) -> int:
    """Return how many rows of a table PostgreSQL says were updated."""
    with engine.connect() as connection:
        statement = text("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = :table")
        return int(connection.scalar(statement, {"table": table}) or 0)


def test_postgresql_writes_no_unchanged_task(postgresql_url: str) -> None:
    """By PostgreSQL's own counters a sweep writes no task, and few bytes; the plain design writes each."""
    engine = filled(postgresql_url)
    ours = on_postgresql(engine, measure=batches, polls=PENDING)
    plain = on_postgresql(engine, measure=rows, polls=PENDING)
    written = {table: rows_written(engine, table) for table in ("suno_tasks", "plain_tasks", "poll_batches")}
    engine.dispose()

    assert written["suno_tasks"] == 0
    assert written["plain_tasks"] >= plain["polled"] >= PENDING
    assert written["poll_batches"] >= 2 * ours["polled"] / 100 >= 2 * PENDING / 100
    assert 0 < ours["wal"] / ours["polled"] < plain["wal"] / plain["polled"] / 10
    assert ours["database_s"] > 0


def test_sqlite_writes_no_unchanged_task(sqlite_url: str) -> None:
    """By SQLite's own counter a sweep writes each batch's one row twice, and no task."""
    engine = filled(sqlite_url)
    ours = on_sqlite(engine, measure=batches, polls=PENDING)
    plain = on_sqlite(engine, measure=rows, polls=PENDING)
    engine.dispose()

    assert ours["changes"] == 2 * ours["polled"] / 100
    assert plain["changes"] == plain["polled"]


def test_the_fill_is_like_a_database_at_work(sqlite_url: str) -> None:
    """Every batch is full; where a batch knows its size, that is what it knows."""
    engine = filled(sqlite_url)
    columns = PollBatch.__table__.columns
    known = columns["size"] if "size" in columns else literal(100)
    with engine.connect() as connection:
        found = connection.execute(
            select(func.count(SunoTask.id), known)
            .join_from(PollBatch, SunoTask, SunoTask.poll_batch_id == PollBatch.id)
            .group_by(PollBatch.id)
        ).all()
    engine.dispose()

    assert [tuple(row) for row in found] == [(100, 100)] * (PENDING // 100)


def test_the_kept_results_hold_every_figure() -> None:
    """`latest.json` has one number under each key that is reported, unless it says that a scenario failed."""
    kept = load("latest")
    figures = {one.key: one.scenario for one in (*RATIOS, *ABSOLUTES)}
    measured = {key for key, value in kept.items() if is_figure(key) and isinstance(value, float | int)}

    assert measured <= set(figures)
    assert {figures[key] for key in set(figures) - measured} <= {
        name for name in SCENARIOS if f"failed_{name}" in kept
    }
    assert set(NEEDED) <= set(figures)


def test_readme_and_capacity_say_what_was_measured() -> None:
    """Both READMEs' table and docs/capacity.md are what the kept results make of them."""
    kept = load("latest")

    for page in READMES:
        readme = page.read_text(encoding="utf-8")
        assert with_block(readme, kept) == readme
    assert CAPACITY.read_text(encoding="utf-8") == document(kept)


@pytest.mark.parametrize("name", CHEAP)
def test_a_scenario_counts_what_it_measures(name: str) -> None:
    """A scenario runs by itself, and measures what it says; the others are among the system tests."""
    measured(name)


def test_a_scenario_that_takes_too_long_is_ended() -> None:
    """It is ended with all that it started, and the reason is said."""
    before = set(children(os.getpid()))

    outcome = run(replace(SCENARIOS["idle"], limit_s=3), quick=False, rounds=1)

    assert outcome == (None, "it took longer than 3 s")
    assert set(children(os.getpid())) == before


def test_a_scenario_that_fails_says_why() -> None:
    """Its last line is the reason."""
    figures, failure = run(replace(SCENARIOS["idle"], name="unknown"), quick=True, rounds=1)

    assert figures is None
    assert "invalid choice: 'unknown'" in str(failure)


def test_a_failure_keeps_what_was_measured() -> None:
    """A failed scenario loses no figure, not even its own of an earlier run, until it has succeeded again."""
    idle = {"idle_core_share": 0.01, "rounds": 5}
    slow = {"healthy_share_5pct_hanging": 1.0, "rounds": 3}
    first = merged({}, scenario="idle", figures=idle, failure=None, took_s=60)
    failed = merged(first, scenario="idle", figures=None, failure="no port was free", took_s=1)
    other = merged(failed, scenario="slow", figures=slow, failure=None, took_s=90)
    again = merged(
        other, scenario="idle", figures={"idle_core_share": 0.02, "rounds": 1}, failure=None, took_s=30
    )

    about = {"rounds_of_idle": 5, "seconds_of_idle": 60}
    assert failed == {"idle_core_share": 0.01, "failed_idle": "no port was free"} | about
    assert "**The last run failed:** no port was free." in markdown(other)
    assert again == {
        "idle_core_share": 0.02,
        "rounds_of_idle": 1,
        "seconds_of_idle": 30,
        "healthy_share_5pct_hanging": 1.0,
        "rounds_of_slow": 3,
        "seconds_of_slow": 90,
    }


def test_a_report_names_what_missed_its_goal() -> None:
    """A figure beyond its goal says so, and one that was not measured is a dash."""
    text = markdown({"idle_core_share": 0.051, "healthy_share_5pct_hanging": 0.97})

    assert "**5.1 % (missed)** | ≤ 4 %" in text
    assert "**97 %** | ≥ 95 %" in text
    assert "**–** | ≥ 20×" in text


def test_a_report_says_of_how_many_rounds_a_figure_is_the_median() -> None:
    """Each row says what its own scenario counted; what is measured once in a run says so."""
    text = markdown(
        {
            "idle_core_share": 0.03,
            "rounds_of_idle": 5,
            "seconds_of_idle": 90,
            "table_growth_20_sweeps": 1.04,
            "rounds_of_sweep": 3,
            "seconds_of_sweep": 150,
        }
    )

    assert "**3 %** | ≤ 4 % | 5 |" in text
    assert "**1.04×** | ≤ 1.1× | 1 |" in text
    assert "All of it took 4 minutes." in text


def test_the_machine_line_carries_a_note() -> None:
    """It says that commits were durable, and what else was asked to be said, so nobody edits it by hand."""
    assert machine_line(note="beside a backup").endswith("; beside a backup")
    assert "fsync, synchronous_commit and full_page_writes on" in machine_line()


def test_capacity_is_the_arithmetic_of_a_whole_life() -> None:
    """By hand: 18 polls in 4 minutes, of which the measured run had 2, and 60 % of a core at most."""
    flat = {
        "end_to_end_ours_requests": 0.02,
        "end_to_end_ours_worker_ms": 0.6,
        "end_to_end_ours_database_ms": 0.5,
        "end_to_end_ours_broker_ms": 0.01,
        "end_to_end_ours_wal_bytes": 5_000.0,
        "end_to_end_ours_table_bytes": 2_000.0,
        "sweep_worker_us_per_task_1e6": 16.0,
        "sweep_database_us_per_task_1e6": 5.0,
        "sweep_wal_bytes_per_task_1e6": 10.0,
        "enqueue_message_broker_bytes": 1_048.576,
        "idle_memory_broker_mib": 8.0,
    }

    # 0.6 ms + 16 × 16 µs = 0.856 ms; 0.5 ms + 16 × 5 µs = 0.58 ms; 5,000 + 16 × 10 = 5,160 bytes.
    # 1,000 a second: 0.856 cores of workers / 0.6 -> 2; of databases 0.58 / 0.6 -> 1; 60 s x 1,000 x 1 KiB.
    assert completion_rows(flat)[0] == [
        *("1,000", "240,000", "0.856 → 2", "0.58 → 1", "0.01", "68 MiB", "5.16 MB", "173 GB", "5.18 TB"),
    ]
    assert completion_rows(flat)[1][2:4] == ["8.56 → 15", "5.8 → 10"]
    # 1,000,000 x 18 / 240 s = 75,000 polls a second, in 750 requests; x 16 us, x 5 us, x 10 bytes.
    assert pending_rows(flat)[0] == [
        *("1,000,000", "75,000", "750", "750", "1.2 → 2", "0.375 → 1", "0.75 MB"),
    ]
    assert with_headroom(0.6) == "0.6 → 1"
    assert with_headroom(0.61) == "0.61 → 2"


def test_the_plot_shows_what_was_measured() -> None:
    """It is well-formed, with a bar for each figure that is known; ten times as much is one step longer."""
    keys = ["sweep_us_per_task_1e4", "sweep_us_per_task_1e5", "sweep_us_per_task_get"]
    root = ET.fromstring(svg(dict(zip(keys, [10.0, 100.0, 1000.0], strict=True))))  # noqa: S314 - ours
    bars = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("x")]
    first, second, third = (int(one.get("width", "")) for one in bars)

    assert third - second == pytest.approx(second - first, abs=1)


def test_cpu_counts_children_that_have_ended() -> None:
    """What a process started and waited for belongs to its cost."""
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    before = cpu_seconds(os.getpid())

    subprocess.run([sys.executable, "-c", burn], check=True)

    assert cpu_seconds(os.getpid()) - before >= 0.25  # it is counted in hundredths, of two kinds


def test_the_gateway_completes_a_task_at_its_moment() -> None:
    """By its id alone a task has completed, or not; the poller's own reading agrees."""
    done, never = task_id(1, completes_at=time.time() - 1), "task-2"
    with peer("gateway") as (port,):
        request = UrlRequest(
            f"http://127.0.0.1:{port}/suno/fetch", json.dumps({"ids": [done, never]}).encode()
        )
        with urlopen(request) as response:  # noqa: S310 - loopback
            body = response.read()
        stats = ask(port, "/stats")
    answer = read_batch(
        status_code=200, content_type="application/json", retry_after=None, body=body, asked=[done, never]
    )

    assert isinstance(answer, Good)
    seen = {key: one.status for key, one in answer.observations.items() if isinstance(one, Seen)}
    assert seen == {done: Status.SUCCESS, never: Status.IN_PROGRESS}
    assert stats["requests"] == 1
    assert list(dict(stats["shown"])) == [done]  # type: ignore[call-overload]


def deliver(port: int, name: str, *, patience: float = 10.0) -> None:
    """POST a webhook of that Suno task, and wait for its answer."""
    request = UrlRequest(f"http://127.0.0.1:{port}/hook", json.dumps({"task_id": name}).encode())
    urlopen(request, timeout=patience).close()  # noqa: S310 - loopback


def test_the_receiver_notes_the_first_of_each_task() -> None:
    """A second webhook of a task counts once; whoever waits is answered when enough have come."""
    with peer("receiver") as (port,):
        for name in ("t1", "t1", "t2"):
            deliver(port, name)
        waited = ask(port, "/wait/2")
        came, posts = ask(port, "/came"), ask(port, "/posts")

    assert waited == {"came": 2}
    assert set(came) == {"t1", "t2"}
    assert posts == {"posts": 3}


def test_a_receiver_begins_to_hang_when_it_is_told() -> None:
    """From that moment its first ports take requests and never answer; the others go on."""
    with peer("receiver", "--hosts=2") as ports:
        deliver(ports[0], "t1")
        ask(ports[-1], "/hang/1")
        with pytest.raises(TimeoutError):
            deliver(ports[0], "t2", patience=0.3)
        deliver(ports[1], "t3")
        came, hung = ask(ports[-1], "/came"), ask(ports[-1], "/hung")

    assert set(came) == {"t1", "t3"}
    assert hung == {"0": 1}


def test_webhooks_that_did_not_come_once_end_a_scenario() -> None:
    """One that is missing does, and so do those that came again and again."""
    with peer("receiver") as (port,):
        for _ in range(2):
            deliver(port, "t1")

        with pytest.raises(AssertionError, match="1 of 2 came"):
            came_once(port, count=2)
        with pytest.raises(AssertionError, match="2 POSTs for 1 webhooks"):
            came_once(port, count=1)


def test_what_came_is_counted_by_its_span() -> None:
    """A webhook counts from a span's begin on, and not at its end."""
    assert rate([-0.1, 0.0, 0.5, 1.9, 2.0], 0.0, 2.0) == 1.5


def test_a_process_that_did_almost_nothing_ends_the_scenario() -> None:
    """Else the rate of two would be that of one."""
    even = [{"delivered": 60.0, "seconds": 10.0, "database_s": 1.0}, {"delivered": 40.0}]
    started_late = [{"delivered": 99.0, "seconds": 10.0, "database_s": 1.0}, {"delivered": 1.0}]

    shared = together(even, count=100, fair=FULL.scale_fair)
    assert shared == {"per_s": 10.0, "database_us": 10_000.0, "least_share": 0.8}
    with pytest.raises(AssertionError, match="did almost nothing"):
        together(started_late, count=100, fair=QUICK.scale_fair)
