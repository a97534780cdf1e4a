"""What is read at each scrape."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, func, select, text
from sqlalchemy.exc import OperationalError

from tests.factory import NOW, add_batch, add_delivery, add_gateway, add_origin, add_task
from worker.core.lifecycle import Status
from worker.core.origins import Breaker
from worker.core.wire import Trouble
from worker.db.bounded import reading_within
from worker.db.deliveries import State
from worker.db.figures import Counts, GatewayFigures, read_counts, read_figures
from worker.db.models import SunoTask
from worker.db.session import Sessions, make_engine, make_sessions

MINUTE = timedelta(minutes=1)
ENDLESS = {
    "postgresql": "SELECT pg_sleep(60)",
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
}


def test_gateways(sessions: Sessions) -> None:
    """Health, pending tasks, and whether anybody polls them."""
    with sessions.begin() as session:
        add_gateway(session, configured_at=NOW)
        add_gateway(
            session, name="ill", configured_at=NOW, cooling_until=NOW + MINUTE, failures=3, trouble="timeout"
        )
        add_gateway(session, name="gone", configured_at=NOW - timedelta(days=1))
        add_task(session, gateway="gone")
        add_task(session, gateway="hub", status="SUCCESS")
        found = read_figures(session, now=NOW).gateways

    well = GatewayFigures(
        name="hub", is_configured=True, cooling_for=timedelta(), failures=0, trouble=None, pending=0
    )
    assert found == (
        replace(well, name="gone", is_configured=False, pending=1),
        well,
        replace(well, name="ill", cooling_for=MINUTE, failures=3, trouble=Trouble.TIMEOUT),
    )


def test_receivers_are_counted_by_their_breaker(sessions: Sessions) -> None:
    """One for which nothing waits is closed as soon as its time is over: no probe will come."""
    opened = {"failures": 5, "openings": 1}
    with sessions.begin() as session:
        add_origin(session, origin="https://well.example:443")
        add_origin(session, origin="https://open.example:443", open_until=NOW + MINUTE, **opened)
        add_origin(session, origin="https://idle.example:443", open_until=NOW, **opened)
        add_origin(session, origin="https://p.example:443", open_until=NOW, next_claim_at=NOW, **opened)
        found = read_figures(session, now=NOW).receivers

    assert found == {Breaker.CLOSED: 2, Breaker.OPEN: 1, Breaker.PROBING: 1}


def test_the_oldest_due_work_of_all_gateways_and_receivers(sessions: Sessions) -> None:
    """What waits for a cool-down, for settings or for a breaker is not late."""
    with sessions.begin() as session:
        add_gateway(session, configured_at=NOW)
        add_gateway(session, name="other", configured_at=NOW)
        add_gateway(session, name="ill", configured_at=NOW, cooling_until=NOW + MINUTE)
        add_gateway(session, name="gone", configured_at=NOW - timedelta(days=1))
        for name, minutes in (("hub", 1), ("other", 2), ("ill", 3), ("gone", 4)):
            add_batch(session, gateway=name, next_poll_at=NOW - minutes * MINUTE)
        for name, minutes in (("a", 1), ("b", 2), ("shut", 9)):
            add_delivery(
                session, origin=f"https://{name}.example:443", next_attempt_at=NOW - minutes * MINUTE
            )
        add_origin(session, origin="https://shut.example:443", next_claim_at=NOW + MINUTE)
        add_origin(session, origin="https://a.example:443", next_claim_at=NOW)
        add_origin(session, origin="https://b.example:443", next_claim_at=NOW)
        found = read_figures(session, now=NOW)

    assert (found.oldest_due_poll, found.oldest_due_delivery) == (2 * MINUTE, 2 * MINUTE)


def test_nothing_due_is_no_lateness(sessions: Sessions) -> None:
    """What is due in the future counts as 0, as does an empty database."""
    with sessions.begin() as session:
        empty = read_figures(session, now=NOW)
        add_gateway(session, configured_at=NOW)
        add_batch(session, next_poll_at=NOW + MINUTE)
        add_delivery(session, next_attempt_at=NOW + MINUTE)
        found = read_figures(session, now=NOW)

    for one in (empty, found):
        assert (one.oldest_due_poll, one.oldest_due_delivery) == (timedelta(), timedelta())


def test_counts(sessions: Sessions) -> None:
    """Every status and state is there, with zero where there is none."""
    with sessions.begin() as session:
        empty = read_counts(session)
        add_gateway(session)
        add_task(session)
        for state in ("DELIVERED", "DELIVERED", "DISCARDED", "PENDING"):
            add_delivery(session, state=state)
        counts = read_counts(session)

    nothing = dict.fromkeys(State, 0)
    pending = {Status.SUBMITTED: 0, Status.IN_PROGRESS: 0}
    assert empty == Counts(pending_tasks=pending, finished_tasks=0, deliveries=nothing)
    assert counts == Counts(
        pending_tasks=pending | {Status.SUBMITTED: 1},
        finished_tasks=4,
        deliveries={State.PENDING: 1, State.DELIVERED: 2, State.DISCARDED: 1},
    )


def test_the_limit_is_that_of_all_statements_together(postgresql_url: str) -> None:
    """Many that are each short enough do not add up to a look of minutes."""
    engine = make_engine(postgresql_url)
    with reading_within(make_sessions(engine), limit=timedelta(seconds=0.5)) as session:
        session.execute(text("SELECT pg_sleep(0.3)"))
        with pytest.raises(OperationalError, match="statement timeout"):
            session.execute(text("SELECT pg_sleep(0.3)"))
    engine.dispose()


def test_a_look_that_takes_too_long_is_given_up(sessions: Sessions, engine: Engine) -> None:
    """It ends with an error that counts as passing, and the next one on the connection has its whole time."""
    endless = text(ENDLESS[engine.dialect.name])
    limit = timedelta(seconds=0.2)

    with pytest.raises(OperationalError), reading_within(sessions, limit=limit) as session:
        session.execute(endless)

    with reading_within(sessions, limit=limit) as session:
        assert session.scalar(select(func.count()).select_from(SunoTask)) == 0
