"""Setting the machine's clock changes no wait of a SQLite file."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import Connection, Engine, delete, event, select, text, update
from sqlalchemy.exc import IntegrityError

from tests.factory import add_batch, add_delivery, add_gateway, add_origin, add_task
from worker import uptime
from worker.db.claimable import lock_due
from worker.db.clock import read_now
from worker.db.models import Base, Clock, Delivery, Gateway, Origin, PollBatch, SunoTask
from worker.db.session import Sessions, make_engine, make_sessions, reading
from worker.db.types import UtcDateTime
from worker.db.wall_clock import MOMENTS

HOUR = timedelta(hours=1)
STEPS = pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Give a SQLite file: PostgreSQL's clock is its server's."""
    return sqlite_url


@pytest.fixture
def other_process(sqlite_url: str) -> Iterator[Sessions]:
    """Give the sessions of another process on the same file."""
    engine = make_engine(sqlite_url)
    yield make_sessions(engine)
    engine.dispose()


def set_clock(step: timedelta) -> time_machine.travel:
    """Set the wall clock for the length of a block; it goes on from there."""
    return time_machine.travel(datetime.now(UTC) + step, tick=True)


def fill(sessions: Sessions) -> None:
    """Write one row of each kind that waits, 20 s from now, and one that has ended."""
    with sessions.begin() as session:
        now = read_now(session)
        soon, ago = now + timedelta(seconds=20), now - timedelta(seconds=20)
        add_gateway(session, cooling_until=soon, configured_at=ago)
        batch = add_batch(session, next_poll_at=soon, leased_until=soon, youngest_at=ago, last_polled_at=ago)
        add_task(session, task_id="pending", poll_batch_id=batch, enqueued_at=ago, stuck_since_at=ago)
        ended = add_task(session, task_id="ended", status="SUCCESS", enqueued_at=ago, finished_at=ago)
        add_delivery(session, suno_task_id=ended, next_attempt_at=soon, leased_until=soon, created_at=ago)
        add_origin(session, open_until=soon, next_claim_at=soon, delivered_at=ago, last_used_at=ago)


def waits(sessions: Sessions) -> dict[str, int | None]:
    """Return how many seconds from now each moment is, as a writer sees it."""
    with sessions.begin() as session:
        now = read_now(session)
        found: dict[str, datetime | None] = {}
        for row, columns in (
            (
                session.scalars(select(PollBatch)).one(),
                ("next_poll_at", "leased_until", "youngest_at", "last_polled_at"),
            ),
            (_task(session.scalars(select(SunoTask)).all()), ("enqueued_at", "stuck_since_at")),
            (session.scalars(select(Delivery)).one(), ("next_attempt_at", "leased_until")),
            (
                session.scalars(select(Origin)).one(),
                ("next_claim_at", "open_until", "delivered_at", "last_used_at"),
            ),
            (session.scalars(select(Gateway)).one(), ("cooling_until", "configured_at")),
        ):
            found |= {f"{type(row).__name__}.{column}": getattr(row, column) for column in columns}
    return {name: None if at is None else round((at - now).total_seconds()) for name, at in found.items()}


def _task(rows: object) -> SunoTask:
    assert isinstance(rows, list)
    (pending,) = (row for row in rows if row.task_id == "pending")
    assert isinstance(pending, SunoTask)
    return pending


def test_every_moment_waits_or_is_history() -> None:
    """A new column with a time is moved with the clock, or named here because nothing waits for it."""
    history = {
        "attempts.at",
        "attempts.next_attempt_at",
        "deliveries.created_at",
        "deliveries.delivered_at",
        "deliveries.discarded_at",
        "gateways.last_error_at",
        "rejections.at",
        "suno_tasks.finished_at",
        "suno_tasks.last_polled_at",
        "suno_tasks.upstream_finished_at",
        "suno_tasks.upstream_started_at",
        "suno_tasks.upstream_submitted_at",
        "transitions.at",
    }
    moments = {
        str(column)
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, UtcDateTime)
    }

    moved = {f"{table}.{column}" for table, columns, _ in MOMENTS for column in columns}
    assert moved == moments - history


@STEPS
def test_a_step_of_the_clock_changes_no_wait(sessions: Sessions, step: timedelta) -> None:
    """What was due in 20 s is due in 20 s, what began 20 s ago began 20 s ago."""
    fill(sessions)
    before = waits(sessions)
    assert set(before.values()) == {20, -20}

    with set_clock(step):
        assert waits(sessions) == before
    assert waits(sessions) == before


@STEPS
def test_a_batch_in_trouble_stays_in_doubt(sessions: Sessions, step: timedelta) -> None:
    """That it is due at the very moment of its last answer tells of the trouble, also on another clock."""
    with sessions.begin() as session:
        at = read_now(session) - timedelta(seconds=20)
        add_gateway(session)
        add_batch(session, next_poll_at=at, last_polled_at=at)

    with set_clock(step), sessions.begin() as session:
        (batch,) = lock_due(session, gateway="hub", room=100, rows=100, now=read_now(session))
    assert batch.doubted


@STEPS
def test_each_step_is_followed_once(
    sessions: Sessions,
    other_process: Sessions,
    caplog: pytest.LogCaptureFixture,
    step: timedelta,
) -> None:
    """Whichever process writes first moves what waits; the others find it done."""
    fill(sessions)
    before = waits(other_process)

    with set_clock(step), caplog.at_level(logging.WARNING):
        assert [waits(sessions), waits(other_process), waits(sessions)] == [before] * 3

    (line,) = caplog.messages
    assert line == (
        f"this machine's clock was set by {step.total_seconds():+.0f} s; everything that waits moves with it"
    )


def test_what_has_ended_keeps_its_times(sessions: Sessions) -> None:
    """History is not rewritten: only what is not over waits."""
    fill(sessions)
    ended = select(SunoTask.enqueued_at, SunoTask.finished_at).where(SunoTask.task_id == "ended")
    with sessions() as session:
        before = session.execute(ended).one()

    with set_clock(HOUR):
        waits(sessions)
        with sessions() as session:
            assert session.execute(ended).one() == before


def test_work_that_fails_does_not_take_the_move_back(sessions: Sessions) -> None:
    """The move is a transaction of its own."""
    fill(sessions)
    before = waits(sessions)

    with set_clock(HOUR):
        with pytest.raises(IntegrityError), sessions.begin() as session:
            add_gateway(session)
        assert waits(sessions) == before


@STEPS
def test_a_move_that_was_not_committed_is_made_again(
    engine: Engine, sessions: Sessions, step: timedelta
) -> None:
    """A disk that is full just then leaves every wait as it was, and the next writer moves them all."""

    def refuse(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement == "COMMIT":
            raise OSError("no space left")

    fill(sessions)
    before = waits(sessions)

    with set_clock(step):
        event.listen(engine, "before_cursor_execute", refuse)
        with pytest.raises(OSError, match="no space left"):
            waits(sessions)
        event.remove(engine, "before_cursor_execute", refuse)
        assert waits(sessions) == before


def test_a_transaction_never_sees_two_clocks(sessions: Sessions) -> None:
    """A step in its midst is followed by the next one: what it writes is moved along with the rest."""
    fill(sessions)
    before = waits(sessions)
    with sessions.begin() as session:
        first = read_now(session)
        traveller = set_clock(-HOUR)
        traveller.start()
        second = read_now(session)
        session.execute(update(PollBatch).values(next_poll_at=second + timedelta(seconds=20)))
    try:
        assert timedelta(0) <= second - first < timedelta(seconds=1)
        assert waits(sessions) == before
    finally:
        traveller.stop()


def test_a_small_step_is_left_alone(sessions: Sessions, caplog: pytest.LogCaptureFixture) -> None:
    """Below 2 s nothing is written: `check` counts such clocks as right."""
    fill(sessions)
    with sessions() as session:
        before = session.scalars(select(PollBatch.next_poll_at)).one()

    with set_clock(timedelta(seconds=1)), sessions.begin() as session:
        assert session.scalars(select(PollBatch.next_poll_at)).one() == before
    assert caplog.messages == []


def test_another_start_of_the_machine_moves_nothing(
    sessions: Sessions, other_process: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the machine was off, time has passed: what waited is due earlier."""
    fill(sessions)
    other = tmp_path / "boot_id"
    other.write_text("another start\n")
    monkeypatch.setattr(uptime, "BOOT_ID", other)

    with set_clock(HOUR):
        assert waits(other_process)["PollBatch.next_poll_at"] == 20 - 3600
        with reading(other_process) as session:
            assert session.scalars(select(Clock.boot)).one() == "another start"


def test_without_a_name_for_the_start_nothing_is_moved(
    sessions: Sessions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no step can be told from a restart, the wall clock is taken as it is."""
    monkeypatch.setattr(uptime, "BOOT_ID", tmp_path / "none")
    fill(sessions)

    with set_clock(HOUR):
        assert waits(sessions)["PollBatch.next_poll_at"] == 20 - 3600


def test_a_file_without_tables_has_a_clock(tmp_path: Path) -> None:
    """The migration that makes the table is itself a writer."""
    engine = make_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_a_row_that_was_lost_is_written_anew(sessions: Sessions, other_process: Sessions) -> None:
    """Nothing is moved by a clock that nobody knows."""
    fill(sessions)
    before = waits(sessions)
    with sessions.begin() as session:
        session.execute(delete(Clock))

    assert waits(other_process) == before
    with reading(sessions) as session:
        (row,) = session.scalars(select(Clock))
    assert abs(row.booted_at - (time.time() - uptime.uptime())) < 1


def test_the_clock_of_a_file_is_the_wall_clock(engine: Engine, sessions: Sessions) -> None:
    """`now` is what a watch beside the machine shows, also after a step."""
    for step in (timedelta(0), HOUR, -HOUR):
        with set_clock(step), sessions.begin() as session:
            assert abs(read_now(session) - datetime.now(UTC)) < timedelta(milliseconds=200)
    engine.dispose()
