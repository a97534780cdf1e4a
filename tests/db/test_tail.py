"""Rows that are only ever added are read once each, also those that commit out of their order."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session

from tests.factory import NOW, add_attempt, add_delivery, add_gateway, add_task, add_transition
from worker.db import rejections, tail
from worker.db.cursor import PAGE, Cursor, begin
from worker.db.models import Attempt, Rejection, Transition
from worker.db.session import Sessions, make_engine, make_sessions
from worker.db.tail import Moved

SECOND = timedelta(seconds=1)


@pytest.fixture
def behind(sessions: Sessions) -> Cursor:
    """Give a cursor behind one attempt that was there before."""
    with sessions.begin() as session:
        add_gateway(session)
        add_attempt(session, delivery_id=add_delivery(session))
        return begin(session, Attempt)


def refuse(session: Session) -> None:
    """Write one rejection."""
    rejections.add(session, source="x", reason="x", arguments="{}", now=NOW)


def test_what_was_there_before_is_not_read(sessions: Sessions, behind: Cursor) -> None:
    """A cursor begins behind the newest row; each row after it is read once."""
    with sessions.begin() as session:
        before = tail.read_attempts(session, behind, now=NOW)
        add_attempt(session, delivery_id=add_delivery(session), status_code=None, error="deadline")
        first = tail.read_attempts(session, behind, now=NOW)
        again = tail.read_attempts(session, behind, now=NOW)

    assert (before, again) == ([], [])
    assert [(one.status_code, one.error, one.duration) for one in first] == [
        (None, "deadline", timedelta(milliseconds=12))
    ]


def test_a_wait_is_counted_from_the_due_time(sessions: Sessions, behind: Cursor) -> None:
    """The first attempt was due with its delivery, a retry when the one before said; one by hand never."""
    with sessions.begin() as session:
        delivery_id = add_delivery(session, created_at=NOW, claims=3)
        add_attempt(session, delivery_id=delivery_id, at=NOW + 2 * SECOND, next_attempt_at=NOW + 7 * SECOND)
        add_attempt(session, delivery_id=delivery_id, number=2, at=NOW + 8 * SECOND)
        add_attempt(session, delivery_id=delivery_id, number=3, at=NOW + 9 * SECOND, trigger="resend")
        found = tail.read_attempts(session, behind, now=NOW)

    assert [one.waited for one in found] == [2 * SECOND, SECOND, None]
    assert [one.since_end - one.duration for one in found] == [2 * SECOND, 8 * SECOND, 9 * SECOND]


@pytest.mark.parametrize(
    ("state", "claims", "next_attempt_at", "expected"),
    [
        ("PENDING", 1, NOW + SECOND, (True, False)),
        ("DISCARDED", 1, None, (False, True)),
        ("DISCARDED", 2, None, (False, False)),
        ("PENDING", 2, None, (False, False)),
    ],
    ids=["retried", "discarded", "late, before the last word", "late, while another tries"],
)
def test_what_an_attempt_made_of_its_delivery(
    sessions: Sessions,
    behind: Cursor,
    state: str,
    claims: int,
    next_attempt_at: datetime | None,
    expected: tuple[bool, bool],
) -> None:
    """Only the last claim's attempt discards."""
    with sessions.begin() as session:
        delivery_id = add_delivery(session, state=state, claims=claims)
        add_attempt(session, delivery_id=delivery_id, next_attempt_at=next_attempt_at)
        (found,) = tail.read_attempts(session, behind, now=NOW)

    assert (found.retries, found.discards) == expected


def test_a_row_that_commits_late_is_read(postgresql_url: str) -> None:
    """A number given before and committed after the others is asked for again, once."""
    engine = make_engine(postgresql_url)
    sessions = make_sessions(engine)
    with sessions.begin() as session:
        cursor = begin(session, Rejection)
    with sessions.begin() as slow:
        refuse(slow)
        with sessions.begin() as session:
            refuse(session)
            refuse(session)
        with sessions.begin() as session:
            first = tail.count_rejections(session, cursor, now=NOW)
    with sessions.begin() as session:
        rest = [tail.count_rejections(session, cursor, now=NOW) for _ in range(2)]
    engine.dispose()

    assert (first, rest) == (2, [1, 0])
    assert cursor == Cursor(high=3)


def test_a_missing_number_is_forgotten_after_five_minutes() -> None:
    """A transaction that was rolled back leaves a number that never comes."""
    cursor = Cursor(high=1)

    cursor.pass_over([4], now=NOW)
    cursor.pass_over([5], now=NOW + timedelta(minutes=5))
    assert sorted(cursor.gaps) == [2, 3]

    cursor.pass_over([6], now=NOW + timedelta(minutes=5) + SECOND)
    assert cursor.gaps == {}


def test_a_leap_of_the_numbers_costs_no_memory() -> None:
    """At most 1,000 missing numbers are remembered, the newest."""
    cursor = Cursor(high=0)

    cursor.pass_over([10**9], now=NOW)
    cursor.pass_over([2 * 10**9], now=NOW)

    assert (min(cursor.gaps), max(cursor.gaps), len(cursor.gaps)) == (2 * 10**9 - 1_000, 2 * 10**9 - 1, 1_000)


def test_an_emptied_table_begins_again(sessions: Sessions, behind: Cursor) -> None:
    """SQLite gives the numbers of deleted rows again; they count."""
    with sessions.begin() as session:
        session.execute(delete(Attempt))
        emptied = tail.read_attempts(session, behind, now=NOW)
        add_attempt(session, delivery_id=add_delivery(session))
        found = tail.read_attempts(session, behind, now=NOW)

    assert (len(emptied), len(found)) == (0, 1)


def test_more_than_a_page_comes_in_pages(sessions: Sessions) -> None:
    """A look reads 1,000 rows at most, and leaves the rest for the next."""
    with sessions.begin() as session:
        cursor = begin(session, Rejection)
        for _ in range(PAGE + 1):
            refuse(session)
        counts = [tail.count_rejections(session, cursor, now=NOW) for _ in range(3)]

    assert counts == [PAGE, 1, 0]


def test_transitions_name_gateway_status_and_age(sessions: Sessions) -> None:
    """The age is the Suno task's when it reached the status."""
    with sessions.begin() as session:
        add_gateway(session)
        cursor = begin(session, Transition)
        task = add_task(session, enqueued_at=NOW)
        add_transition(session, suno_task_id=task, to_status="SUCCESS", at=NOW + 90 * SECOND)
        found = tail.read_transitions(session, cursor, now=NOW)

    assert found == [Moved(gateway="hub", to_status="SUCCESS", age=90 * SECOND)]
