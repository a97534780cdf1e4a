"""Whatever interleaves, no pending task leaves all batches, and requests stay full in the long run."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, select

from tests.factory import NOW, add_gateway
from tests.sweeps import Sweeps
from worker.batches import ClaimedBatch
from worker.core.lifecycle import Action
from worker.db.models import Gateway, PollBatch, SunoTask, Transition
from worker.db.session import Sessions

SECOND = timedelta(seconds=1)
FULL = 80  # ids per request on average, while that many are pending
WARM = 120  # seconds until as many tasks end as come


def empty(sessions: Sessions) -> None:
    """Delete all that another run has left, and know the gateway."""
    with sessions.begin() as session:
        for model in (Transition, SunoTask, PollBatch, Gateway):
            session.execute(delete(model))
        add_gateway(session)


class Interleaving(RuleBasedStateMachine):
    """Enqueues, claims, records, crashes, outages and deletions in any order, at any pace."""

    def __init__(self, sessions: Sessions) -> None:
        """Begin with nothing under watch."""
        super().__init__()
        empty(sessions)
        self.sweeps = Sweeps(sessions=sessions, batch_size=5, concurrency=3)
        self.held: list[ClaimedBatch] = []
        self.claims: dict[str, tuple[int, int, datetime]] = {}  # of each task: batch, claim and lease's end
        self.pending: set[str] = set()

    @rule(count=st.integers(1, 12), action=st.sampled_from(Action))
    def enqueue(self, count: int, action: Action) -> None:
        """Put tasks under watch in batches of their own."""
        self.pending |= set(self.sweeps.enqueue(count, action=action))

    @rule(seconds=st.sampled_from([1, 4, 10, 11, 30, 75, 130, 700]))
    def wait(self, seconds: int) -> None:
        """Let time go by; leases may end."""
        self.sweeps.now += seconds * SECOND

    @rule(free=st.integers(1, 4))
    def claim(self, free: int) -> None:
        """Claim: nobody is asked about a task that is being asked about."""
        for batch in self.sweeps.claim(free=free):
            assert 0 < len(batch.tasks) <= self.sweeps.batch_size
            for name in batch.tasks:
                assert name in self.pending
                assert name not in self.claims or self.claims[name][2] <= self.sweeps.now
                self.claims[name] = (batch.lease.batch_id, batch.lease.claims, batch.lease.leased_until)
            self.held.append(batch)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99), ends=st.integers(0, 2**5 - 1), bad=st.booleans())
    def record(self, which: int, ends: int, bad: bool) -> None:
        """Record an answer, late or in time: it counts if no other claim has come since."""
        batch = self.held.pop(which % len(self.held))
        ended = [name for index, name in enumerate(batch.tasks) if ends >> index & 1]
        mine = (batch.lease.batch_id, batch.lease.claims, batch.lease.leased_until)
        current = {self.claims[name] == mine for name in batch.tasks}
        assert len(current) == 1, "the tasks of a claim go on together"
        assert self.sweeps.record(batch, ended=ended, bad=bad) is current.pop()
        if self.claims[next(iter(batch.tasks))] == mine:
            for name in batch.tasks:
                del self.claims[name]
            self.pending -= set() if bad else set(ended)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 99))
    def crash(self, which: int) -> None:
        """A worker dies with its claim: nothing is recorded, the lease ends by itself."""
        self.held.pop(which % len(self.held))

    @rule()
    def prune(self) -> None:
        """Finished tasks are deleted."""
        with self.sweeps.sessions.begin() as session:
            finished = select(SunoTask.id).where(SunoTask.finished_at.is_not(None))
            session.execute(delete(Transition).where(Transition.suno_task_id.in_(finished)))
            session.execute(delete(SunoTask).where(SunoTask.finished_at.is_not(None)))

    @invariant()
    def every_pending_task_is_in_a_batch(self) -> None:
        """Sizes are exact, batches are within their limit, and pending is what has not ended."""
        self.sweeps.check()
        with self.sweeps.sessions() as session:
            stored = session.scalars(select(SunoTask.task_id).where(SunoTask.poll_batch_id.is_not(None)))
            assert set(stored) == self.pending


def test_no_task_is_lost_whatever_interleaves(sessions: Sessions) -> None:
    """Batches are merged between enqueues, records, crashes, outages and deletions."""

    class Here(Interleaving):
        def __init__(self) -> None:
            super().__init__(sessions)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=settings().max_examples // 8,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_requests_stay_full_over_a_long_mixed_run(sessions: Sessions) -> None:
    """Singles and files come, songs end after 1 to 4 minutes or never, workers crash, the gateway fails."""
    empty(sessions)
    sweeps = Sweeps(sessions=sessions)
    chance = random.Random(4)  # noqa: S311 - a run that can be repeated
    ends: dict[str, datetime] = {}
    out: list[tuple[datetime, ClaimedBatch]] = []
    asked: list[int] = []
    for tick in range(300):
        sweeps.now = NOW + tick * SECOND
        for answer in [answer for answer in out if answer[0] <= sweeps.now]:
            out.remove(answer)
            ended = [name for name in answer[1].tasks if ends[name] <= sweeps.now]
            if chance.random() > 0.01:  # else the worker has died
                sweeps.record(answer[1], ended=ended, bad=chance.random() < 0.01, jitter=chance.random())
        for count in (1, 1, 30) if tick % 10 == 0 else (1, 2):
            for name in sweeps.enqueue(count):
                life = chance.uniform(60, 240) if chance.random() < 0.97 else 36_000
                ends[name] = sweeps.now + life * SECOND
        while batches := sweeps.claim():
            out += [(sweeps.now + chance.randrange(3) * SECOND, batch) for batch in batches]
            if tick >= WARM:
                asked += [len(batch.tasks) for batch in batches]
    sweeps.check()
    assert sweeps.pending() > 10 * FULL
    assert sum(asked) / len(asked) >= FULL
