"""Thin poll batches are merged in the claim, and no task is lost, doubled or asked twice by that."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import Engine, event, select, update
from sqlalchemy.orm import Session

from tests.factory import NOW, add_batch, add_gateway, add_task
from tests.sweeps import INTERVAL, Sweeps
from worker.db import poll_batches
from worker.db.models import PollBatch
from worker.db.session import Sessions, make_engine, make_sessions

SECOND = timedelta(seconds=1)
YOUNG = NOW - 10 * SECOND
OLD = NOW - timedelta(hours=2)


@pytest.fixture
def sweeps(sessions: Sessions) -> Sweeps:
    """Give a gateway with nothing to ask about."""
    with sessions.begin() as session:
        add_gateway(session)
    return Sweeps(sessions=sessions)


def add(session: Session, count: int, **columns: object) -> int:
    """Insert a batch with `count` tasks of its age, due now unless said otherwise; return its id."""
    columns = {"youngest_at": YOUNG} | columns
    batch_id = add_batch(session, gateway="hub", **columns)
    batch = session.get_one(PollBatch, batch_id)
    for _ in range(count):
        add_task(session, poll_batch_id=batch_id, action=batch.action, enqueued_at=batch.youngest_at)
    return batch_id


def batches(sessions: Sessions) -> dict[int, PollBatch]:
    """Return all batches by their ids."""
    with sessions() as session:
        return {batch.id: batch for batch in session.scalars(select(PollBatch))}


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements that are sent."""
    sent: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.startswith("BEGIN"):
            sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def test_ten_due_batches_of_one_task_are_one_request(sweeps: Sweeps) -> None:
    """Nine are emptied and deleted; one stays, with the tasks, the lease and the age of the youngest."""
    with sweeps.sessions.begin() as session:
        ids = [add(session, 1, youngest_at=YOUNG - number * SECOND) for number in range(10)]
    (claimed,) = sweeps.claim()
    assert len(claimed.tasks) == 10
    (batch,) = batches(sweeps.sessions).values()
    assert batch.id in ids
    assert (batch.size, batch.claims, batch.youngest_at) == (10, 1, YOUNG)
    assert batch.leased_until == batch.next_poll_at == NOW + timedelta(seconds=75)
    assert {watched.batch_id for watched in claimed.tasks.values()} == {batch.id}
    sweeps.check()


def test_a_request_is_filled_with_what_is_due_within_half_of_its_own_interval(sweeps: Sweeps) -> None:
    """Young batches within 5 s, old ones within 150 s; what is due later is left alone."""
    with sweeps.sessions.begin() as session:
        due = add(session, 3)
        young = add(session, 2, next_poll_at=NOW + 5 * SECOND)
        old = add(session, 1, next_poll_at=NOW + 150 * SECOND, youngest_at=OLD)
        later = add(session, 2, next_poll_at=NOW + 6 * SECOND)
        much_later = add(session, 1, next_poll_at=NOW + 151 * SECOND, youngest_at=OLD)
        other = add(session, 1, next_poll_at=NOW + SECOND, action="LYRICS")
    (claimed,) = sweeps.claim()
    assert len(claimed.tasks) == 6
    assert claimed.lease.batch_id == due
    assert set(batches(sweeps.sessions)) == {due, later, much_later, other}
    assert not {young, old} & set(batches(sweeps.sessions))
    sweeps.check()


def test_the_larger_batch_stays_even_when_it_was_not_due(sweeps: Sweeps) -> None:
    """Then one task moves, not eighty; its claim fences as any other."""
    with sweeps.sessions.begin() as session:
        add(session, 1)
        large = add(session, 80, next_poll_at=NOW + 5 * SECOND)
    (claimed,) = sweeps.claim()
    assert (claimed.lease.batch_id, claimed.lease.claims, len(claimed.tasks)) == (large, 1, 81)
    sweeps.check()


def test_a_full_request_looks_for_nothing_more(sweeps: Sweeps, engine: Engine) -> None:
    """Not even with a statement; the thin batch waits for its own time."""
    with sweeps.sessions.begin() as session:
        full = add(session, 100)
        thin = add(session, 5, next_poll_at=NOW + SECOND)
    with statements(engine) as sent:
        (claimed,) = sweeps.claim()
    assert (claimed.lease.batch_id, len(claimed.tasks)) == (full, 100)
    assert batches(sweeps.sessions)[thin].claims == 0
    assert len(sent) == 6


def test_what_a_claim_costs(sweeps: Sweeps, engine: Engine) -> None:
    """One look when nothing is due; with merging four statements more than without, however many merge."""
    with statements(engine) as idle:
        assert sweeps.claim() == []
    with sweeps.sessions.begin() as session:
        for _ in range(50):
            add(session, 1)
    with statements(engine) as merged:
        assert len(sweeps.claim()) == 1
    assert (len(idle), len(merged)) == (1, 10)


def test_a_late_record_does_not_hide_what_is_due_behind_it(postgresql_url: str) -> None:
    """The row that it holds is skipped, and counts among those that the first look-up reads."""
    engine = make_engine(postgresql_url)
    sessions = make_sessions(engine)
    sweeps = Sweeps(sessions=sessions)
    with sessions.begin() as session:
        add_gateway(session)
        held, *_ = (add(session, 1, next_poll_at=NOW - number * SECOND) for number in range(40, 0, -1))
    with sessions.begin() as late:
        assert set(poll_batches.hold(late, ids=[held])) == {held}
        (claimed,) = sweeps.claim()
    engine.dispose()
    assert len(claimed.tasks) == 39


def test_one_batch_may_be_divided(sweeps: Sweeps) -> None:
    """Three batches of 60 tasks are two requests: the third is shared out between them."""
    with sweeps.sessions.begin() as session:
        for _ in range(3):
            add(session, 60)
    assert sorted(len(claimed.tasks) for claimed in sweeps.claim()) == [80, 100]
    assert len(batches(sweeps.sessions)) == 2
    sweeps.check()


def test_what_exceeds_the_gateways_limit_is_left_as_it_is(sweeps: Sweeps) -> None:
    """With one free request the longest due are asked, and the others are neither moved nor leased."""
    with sweeps.sessions.begin() as session:
        first = add(session, 70, next_poll_at=NOW - 2 * SECOND)
        second = add(session, 95, next_poll_at=NOW - SECOND)
        third = add(session, 20)
    (claimed,) = sweeps.claim(free=1)
    assert (claimed.lease.batch_id, len(claimed.tasks)) == (first, 90)
    left = batches(sweeps.sessions)
    assert set(left) == {first, second}
    assert (left[second].claims, left[second].size, left[second].leased_until) == (0, 95, None)
    assert third not in left


def test_a_live_lease_gives_and_takes_nothing(sweeps: Sweeps) -> None:
    """A batch that another worker asks about is no donor, however thin and however soon its lease ends."""
    with sweeps.sessions.begin() as session:
        add(session, 1)
    sweeps.claim()
    sweeps.now += timedelta(seconds=74)
    with sweeps.sessions.begin() as session:
        add(session, 1, next_poll_at=sweeps.now)
    (claimed,) = sweeps.claim()
    assert len(claimed.tasks) == 1
    assert len(batches(sweeps.sessions)) == 2


def test_a_batch_that_the_gateway_refuses_is_asked_by_itself(sweeps: Sweeps) -> None:
    """Due or due soon, it is merged with none, or it would spoil the others' request."""
    with sweeps.sessions.begin() as session:
        add(session, 1)
        due = add(session, 1, alone=True)
        soon = add(session, 1, alone=True, next_poll_at=NOW + SECOND)
    claimed = sweeps.claim()
    assert [len(batch.tasks) for batch in claimed] == [1, 1]
    assert {batch.lease.alone for batch in claimed} == {False, True}
    assert {due, soon} < set(batches(sweeps.sessions))


def test_the_late_record_of_a_batch_that_was_emptied_changes_nothing(sweeps: Sweeps) -> None:
    """Its lease ended, its task moved into a larger batch, and the old claim's answer finds no batch."""
    with sweeps.sessions.begin() as session:
        add(session, 1)
    (dead,) = sweeps.claim()
    sweeps.now += timedelta(seconds=75)
    with sweeps.sessions.begin() as session:
        add(session, 2, next_poll_at=sweeps.now)
    (alive,) = sweeps.claim()
    assert len(alive.tasks) == 3
    assert not sweeps.record(dead, ended=dead.tasks)
    assert sweeps.pending() == 3
    assert sweeps.record(alive, ended=list(alive.tasks)[:2])
    assert sweeps.pending() == 1
    sweeps.check()


def test_the_late_record_of_a_batch_that_took_others_in_changes_nothing(sweeps: Sweeps) -> None:
    """It was claimed anew, with more tasks than the old claim knew of."""
    with sweeps.sessions.begin() as session:
        add(session, 2)
    (dead,) = sweeps.claim()
    sweeps.now += timedelta(seconds=75)
    with sweeps.sessions.begin() as session:
        add(session, 1, next_poll_at=sweeps.now)
    (alive,) = sweeps.claim()
    assert (alive.lease.batch_id, alive.lease.claims) == (dead.lease.batch_id, 2)
    assert not sweeps.record(dead, ended=dead.tasks)
    assert sweeps.record(alive)
    assert sweeps.pending() == 3


def test_a_deleted_batchs_id_is_never_used_again(sweeps: Sweeps) -> None:
    """Or a late record could take another batch's first claim for its own."""
    with sweeps.sessions.begin() as session:
        add(session, 1)
    (ended,) = sweeps.claim()
    sweeps.record(ended, ended=ended.tasks)
    assert batches(sweeps.sessions) == {}
    with sweeps.sessions.begin() as session:
        assert add(session, 1) > ended.lease.batch_id


def test_an_age_is_that_of_the_youngest_task_that_is_left(sweeps: Sweeps) -> None:
    """When the youngest has ended, the batch is asked as rarely as the others allow."""
    with sweeps.sessions.begin() as session:
        batch_id = add(session, 1, youngest_at=YOUNG)
        add_task(session, poll_batch_id=batch_id, task_id="old", enqueued_at=OLD)
    (claimed,) = sweeps.claim()
    sweeps.record(claimed, ended=[name for name in claimed.tasks if name != "old"])
    sweeps.now += INTERVAL
    (claimed,) = sweeps.claim()
    assert claimed.lease.youngest_at == OLD
    assert batches(sweeps.sessions)[batch_id].youngest_at == OLD
    assert sweeps.record(claimed)
    assert batches(sweeps.sessions)[batch_id].next_poll_at == sweeps.now + 30 * INTERVAL


def test_a_claim_heals_a_size_that_was_wrong(sweeps: Sweeps) -> None:
    """What is counted is what is there: a task is asked about even if its batch says it has none."""
    with sweeps.sessions.begin() as session:
        add(session, 2)
        session.execute(update(PollBatch).values(size=0))
    (claimed,) = sweeps.claim()
    assert len(claimed.tasks) == 2
    sweeps.check()


def test_eight_claimers_ask_about_every_task_once(sweeps: Sweeps) -> None:
    """While they merge, others enqueue, and answers end every other task."""
    sweeps.batch_size, sweeps.concurrency = 10, 100
    with sweeps.sessions.begin() as session:
        for number in range(60):
            add(session, number % 4 + 1, next_poll_at=NOW + (number % 3 - 1) * SECOND)
    asked: list[str] = []
    barrier = threading.Barrier(10)

    def enqueue() -> None:
        barrier.wait()
        for _ in range(10):
            with sweeps.sessions.begin() as session:
                add(session, 2)

    def poll() -> None:
        barrier.wait()
        while any(writer.is_alive() for writer in writers) or sweeps.due():
            for batch in sweeps.claim(free=2):
                asked.extend(batch.tasks)
                assert sweeps.record(batch, ended=list(batch.tasks)[::2])

    writers = [_Guarded(target=enqueue) for _ in range(2)]
    pollers = [_Guarded(target=poll) for _ in range(8)]
    for thread in [*writers, *pollers]:
        thread.start()
    for thread in [*writers, *pollers]:
        thread.join()
    assert [thread.error for thread in [*writers, *pollers]] == [None] * 10
    assert set(Counter(asked).values()) == {1}
    assert len(asked) > 60
    sweeps.check()


class _Guarded(threading.Thread):
    """A thread that keeps its error for the test."""

    error: Exception | None = None

    def run(self) -> None:
        """Run the target."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
            self.error = error
