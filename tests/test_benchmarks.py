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
from benchmarks.capacity import NEEDED, document
from benchmarks.figures import RATIOS
from benchmarks.fill import fill
from benchmarks.gateway import task_id
from benchmarks.plot import svg
from benchmarks.publish import CAPACITY, READMES, with_block
from benchmarks.report import markdown
from benchmarks.results import load, merged
from benchmarks.scenarios import SCENARIOS
from benchmarks.stage import peer
from benchmarks.sweep import batches, on_postgresql, on_sqlite, rows
from benchmarks.wire import ask
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
    measured = {key for key, value in kept.items() if isinstance(value, float | int)}

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


@pytest.mark.parametrize("name", ["delivery", "enqueue"])
def test_a_scenario_gives_its_figures(name: str) -> None:
    """A scenario runs by itself and gives exactly the figures that are named for it."""
    figures, failure = run(SCENARIOS[name], quick=True, rounds=1)

    assert failure is None
    assert figures is not None
    assert set(figures) == {one.key for one in (*RATIOS, *ABSOLUTES) if one.scenario == name}
    assert all(value > 0 for value in figures.values())


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
    first = merged({}, scenario="idle", figures={"idle_core_share": 0.01}, failure=None)
    failed = merged(first, scenario="idle", figures=None, failure="no port was free")
    other = merged(failed, scenario="slow", figures={"healthy_share_5pct_hanging": 1.0}, failure=None)
    again = merged(other, scenario="idle", figures={"idle_core_share": 0.02}, failure=None)

    assert failed == {"idle_core_share": 0.01, "failed_idle": "no port was free"}
    assert "**The last run failed:** no port was free." in markdown(other)
    assert again == {"idle_core_share": 0.02, "healthy_share_5pct_hanging": 1.0}


def test_a_report_names_what_missed_its_goal() -> None:
    """A figure beyond its goal says so, and one that was not measured is a dash."""
    text = markdown({"idle_core_share": 0.051, "healthy_share_5pct_hanging": 0.97})

    assert "**5.1 % (missed)** | ≤ 4 %" in text
    assert "**97 %** | ≥ 95 %" in text
    assert "**–** | ≥ 20×" in text


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


def test_the_receiver_notes_the_first_of_each_task() -> None:
    """A second webhook of a task counts once; whoever waits is answered when enough have come."""
    with peer("receiver") as (port,):
        for number in (1, 1, 2):
            body = json.dumps({"task_id": f"t{number}"}).encode()
            urlopen(UrlRequest(f"http://127.0.0.1:{port}/hook", body)).close()
        waited = ask(port, "/wait/2")
        came = ask(port, "/came")

    assert waited == {"came": 2}
    assert set(came) == {"t1", "t2"}
