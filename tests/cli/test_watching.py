from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from tests.factory import NOW, add_delivery, add_gateway, add_origin, add_task
from worker.cli.status import watched, watched_still
from worker.cli.watching import Watch, receivers_section
from worker.core.lifecycle import Status
from worker.db.deliveries import State
from worker.db.origin_overview import read_receivers
from worker.db.overview import Overview
from worker.db.session import Sessions, make_engine, make_sessions
from worker.settings import load_settings


def overview(*, pending: int = 0, finished: int = 0, delivered: int = 0) -> Overview:
    """Return counts, and nothing late."""
    tasks = dict.fromkeys(Status, 0) | {Status.IN_PROGRESS: pending, Status.SUCCESS: finished}
    return Overview(
        tasks=tasks,
        deliveries=dict.fromkeys(State, 0) | {State.DELIVERED: delivered},
        oldest_due_poll=timedelta(),
        oldest_due_delivery=timedelta(),
        gateways=(),
        origins_open=0,
        rejections=0,
    )


def test_rates_are_differences_over_the_time_watched() -> None:
    """The first look has no rate; the second has what moved in between, a second."""
    watch = Watch()
    first = watch.rates(overview(pending=10), now=NOW)
    second = watch.rates(overview(pending=5, finished=15, delivered=4), now=NOW + timedelta(seconds=2))

    assert [row[1] for row in first.rows] == ["-", "-", "-", "-"]
    assert list(second.rows) == [
        ("put under watch", "5.0"),
        ("finished", "7.5"),
        ("delivered", "2.0"),
        ("discarded", "0.0"),
    ]
    assert second.columns == ("in 2 s", "a second")


def test_rates_forget_what_is_older_than_half_a_minute() -> None:
    """Only the last 30 s count, and rows that were pruned make no rate below zero."""
    watch = Watch()
    looks = [(0, 1000), (20, 1000), (40, 1100), (45, 900)]
    *_, last = [
        watch.rates(overview(finished=finished), now=NOW + timedelta(seconds=seconds))
        for seconds, finished in looks
    ]

    assert last.columns == ("in 25 s", "a second")
    assert ("finished", "0.0") in last.rows


def test_only_receivers_with_work_or_trouble_are_shown(sessions: Sessions) -> None:
    """An idle one that is well is left out; one behind its breaker is red."""
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session, origin="https://idle.example:443")
        add_origin(
            session,
            origin="https://dead.example:443",
            failures=5,
            openings=1,
            open_until=NOW + timedelta(hours=1),
        )
        add_origin(session, origin="https://busy.example:443", next_claim_at=NOW)
        add_delivery(session, origin="https://busy.example:443")
        shown = receivers_section(read_receivers(session, limit=5, now=NOW))

    assert [row[0] for row in shown.rows] == ["https://dead.example:443", "https://busy.example:443"]
    assert shown.alarming == ["https://dead.example:443"]


def test_one_look_fits_a_terminal(sessions: Sessions) -> None:
    """With one gateway and one busy receiver the whole of it can be seen on 30 lines of 80 characters."""
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session, next_claim_at=NOW)
        add_task(session, status="IN_PROGRESS")
        add_delivery(session)
    environ = {"WORKER_GATEWAYS__HUB__BASE_URL": "http://x", "WORKER_GATEWAYS__HUB__API_KEY": "k"}
    paper = Console(width=80, file=io.StringIO())

    paper.print(watched(sessions, settings=load_settings(environ), watch=Watch()))

    assert isinstance(paper.file, io.StringIO)
    text = paper.file.getvalue()
    assert len(text.splitlines()) <= 30, text
    for words in ("IN_PROGRESS", "PENDING", "hub", "put under watch", "oldest due poll waits", "in flight"):
        assert words in text


def test_a_database_that_goes_away_ends_no_watch(tmp_path: Path) -> None:
    """Whoever watches an outage sees what is wrong, and that it is looked at again."""
    engine = make_engine(f"sqlite:///{tmp_path / 'gone' / 'worker.db'}")
    paper = Console(width=200, file=io.StringIO())

    paper.print(watched_still(make_sessions(engine), settings=load_settings({}), watch=Watch()))

    engine.dispose()
    assert isinstance(paper.file, io.StringIO)
    text = " ".join(paper.file.getvalue().split())
    assert "unable to open database file: create its folder" in text
    assert text.endswith("looking again every 2 s")
