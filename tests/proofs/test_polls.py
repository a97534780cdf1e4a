"""Whatever several pollers and a gateway do at once, every task is asked about once at a time and ends once.

Every history ends with its gateway well again, and then every task has ended and owes what it should.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from sqlalchemy import func, select

from tests.factory import HOOK
from tests.polling import LIMITS
from tests.proofs.together import LONGEST_S, Clock, Histories, at_once, prove
from tests.proofs.watch import Answered, Claimed, Leased, Step, Watched, World, worlds
from tests.sweeps import DONE, INTERVAL, TIMEOUT, WELL, Sweeps
from worker.attribution import End, Polled
from worker.batches import LEASE_MARGIN, ClaimedBatch
from worker.clients.gateway import GatewayClient
from worker.clients.portal import Portal
from worker.core.addresses import Allow
from worker.core.lifecycle import Action
from worker.core.wire import Bad, Good, Trouble
from worker.db.models import Delivery, Gateway, PollBatch, SunoTask, Transition
from worker.db.session import Sessions
from worker.intake import put_under_watch
from worker.poller import Poller
from worker.request import Policy, Request

BATCH_SIZE = 3
CONCURRENCY = 2
POLLERS = 3
WELL_AGAIN_AFTER = 60  # looks, an hour apart

bits = st.integers(0, 2**BATCH_SIZE - 1)
answers = st.tuples(st.integers(0, 99), bits, st.sampled_from(["last", "more", "trouble"]))


class Polls(Histories):
    """Enqueues, claims, answers in time and late, crashes and outages, one by one and at once."""

    def __init__(self, *, sessions: Sessions, clock: Clock, portal: Portal) -> None:
        """Begin with nothing under watch."""
        super().__init__(sessions=sessions, clock=clock, portal=portal)
        self.pollers = [self.poller() for _ in range(POLLERS)]
        self.world = World(leases={})
        self.names = 0
        self.held: list[ClaimedBatch] = []  # whose answers may still come
        self.settled = True  # what the tables hold is known

    def poller(self) -> Poller:
        """Return another process's poller; nobody asks its client, as the rules hand in the answers."""
        gateway = Sweeps(sessions=self.sessions, batch_size=BATCH_SIZE, concurrency=CONCURRENCY).gateway
        return Poller(
            sessions=self.sessions,
            polled={"hub": gateway},
            limits=LIMITS,
            poll_interval=INTERVAL,
            client=GatewayClient.__new__(GatewayClient),
            submit=self.portal.submit,
            ring_deliver=lambda: None,
        )

    @initialize()
    def begin(self) -> None:
        """Enough is due for several requests, or most histories would be about nothing."""
        self.watch(count=4 * BATCH_SIZE, action=Action.MUSIC)
        self.clock.wait(INTERVAL)

    @rule(count=st.integers(1, 12), action=st.sampled_from(Action))
    def watch(self, count: int, action: Action) -> None:
        """Put tasks under watch."""
        self.settle([self.enqueue(count, action)])

    @rule(seconds=st.sampled_from([1, 6, 11, 31, 74, 76, 700]))
    def wait(self, seconds: int) -> None:
        """Let time go by: batches come due, leases end, a cool-down is over."""
        self.clock.wait(timedelta(seconds=seconds))

    @rule(free=st.integers(1, 4), claimers=st.integers(1, POLLERS))
    def claim(self, free: int, claimers: int) -> None:
        """Claim, alone or at the same moment as others: within what the gateway may be asked at once."""
        took = at_once([partial(one.claim, free=free) for one in self.pollers[:claimers]])
        batches = [list(claimed.items) for claimed in took]
        self.settle([claimed_by(one) for one in batches if one])
        self.held += [batch for one in batches for batch in one]

    @rule(free=st.integers(1, 4), claimers=st.integers(1, POLLERS))
    def lapse(self, free: int, claimers: int) -> None:
        """Leases end, and what they held is claimed again; the answers to the first requests are late now."""
        self.claim(free=free, claimers=1)
        self.clock.wait(TIMEOUT + LEASE_MARGIN)
        self.claim(free=free, claimers=claimers)

    @rule(answer=answers)
    def record(self, answer: tuple[int, int, str]) -> None:
        """An answer comes, in time or after its lease."""
        self.settle([work() for work in self.to_record([answer])])

    @rule(which=st.integers(0, 99))
    def crash(self, which: int) -> None:
        """A process ends between its claim and its record: only its lease's end is left of it."""
        if self.held:
            self.held.pop(which % len(self.held))

    @rule(said=st.lists(answers, min_size=1, max_size=2), count=st.integers(1, 4))
    def all_at_once(self, said: list[tuple[int, int, str]], count: int) -> None:
        """A claim, answers and an enqueue begin at the same moment."""
        took: list[ClaimedBatch] = []

        def claim() -> Step:
            took.extend(self.pollers[0].claim(free=4).items)
            return claimed_by(took)

        work: list[Callable[[], Step]] = [claim, partial(self.enqueue, count, Action.LYRICS)]
        self.settle(at_once([*work, *self.to_record(said)]))
        self.held += took

    def enqueue(self, count: int, action: Action) -> Watched:
        """Put `count` tasks under watch in one call, every other one with a hook."""
        names = [f"{'hook' if number % 2 else 'mute'}-{self.names + number}" for number in range(count)]
        self.names += count
        policy = Policy(batch_sizes={"hub": BATCH_SIZE}, allow=Allow(), first_poll_delay=INTERVAL)
        requests = [
            Request(
                task_id=name,
                action=action.value,
                gateway="hub",
                notify_hook=HOOK if name.startswith("hook") else None,
            )
            for name in names
        ]
        with self.sessions.begin() as session:
            put_under_watch(session, requests=requests, policy=policy)
        return Watched(tasks=frozenset(names))

    def to_record(self, said: Sequence[tuple[int, int, str]]) -> list[Callable[[], Step]]:
        """Return the records of answers to leases that are held, each to be made by a poller of its own."""
        work: list[Callable[[], Step]] = []
        for poller, (which, ends, kind) in zip(self.pollers[1:], said, strict=False):
            if self.held:
                batch = self.held.pop(which % len(self.held))
                # One task is left until the last answer: what becomes of an empty batch is nobody's concern.
                mine = sorted(batch.tasks)[1 if kind == "more" else 0 :]
                ended = frozenset(name for index, name in enumerate(mine) if ends >> index & 1)
                work.append(partial(self.answer, poller, batch, ended, kind))
        return work

    def answer(self, poller: Poller, batch: ClaimedBatch, ended: frozenset[str], kind: str) -> Answered:
        """Record one answer; after one that is not the last, the lease is still held."""
        names = tuple(batch.tasks)
        words = {name: DONE if name in ended else WELL for name in names}
        more = kind == "more"
        polled = (
            Polled(task_ids=names, reply=OUTAGE, is_trouble=True, end=End())
            if kind == "trouble"
            else Polled(task_ids=names, reply=Good(observations=words), end=None if more else End())
        )
        poller.record([(batch, polled)])
        if more:
            self.held.append(batch)
        return Answered(
            batch_id=batch.lease.batch_id,
            claims=batch.lease.claims,
            trouble=kind == "trouble",
            ended=frozenset() if kind == "trouble" else ended,
            until=self.clock.now + TIMEOUT + LEASE_MARGIN if more else None,
        )

    def settle(self, steps: Sequence[Step]) -> None:
        """Compare what these steps have left with what they may leave; go on from there."""
        stored, self.settled = self.stored(), False
        for world in worlds(self.known(), steps, concurrency=CONCURRENCY, now=self.clock.now):
            if seen(world) == stored:
                self.world, self.settled = world, True
                return
        pytest.fail(f"no order of {steps} leads from {self.known()} to {stored}")

    def known(self) -> World:
        """Return the world as it was left, at the present moment."""
        return World(
            pending=self.world.pending,
            ended=self.world.ended,
            leases=self.world.leases,
            failing=self.world.failing,
            cooling=self.world.cooling and self.is_cooling(),
        )

    def is_cooling(self) -> bool:
        """Say whether the gateway's cool-down lasts; how long it is, is not the question here."""
        with self.sessions() as session:
            until = session.scalars(select(Gateway.cooling_until)).one()
        return until is not None and until > self.clock.now

    def stored(self) -> tuple[object, ...]:
        """Return what the tables hold, as `seen` would have it."""
        with self.sessions() as session:
            tasks = session.execute(select(SunoTask.task_id, SunoTask.status)).all()
            leases = session.scalars(select(PollBatch).where(PollBatch.leased_until.is_not(None))).all()
            failures = session.scalars(select(Gateway.failures)).one()
            return (
                frozenset(name for name, status in tasks if status == "SUBMITTED"),
                frozenset(name for name, status in tasks if status == "SUCCESS"),
                {batch.id: (batch.claims, batch.leased_until) for batch in leases},
                failures > 0,
            )

    @invariant()
    def nothing_else_has_changed(self) -> None:
        """Tasks, leases and the gateway are as the last step has left them."""
        assert self.stored() == seen(self.world)

    @invariant()
    def every_end_is_owed_once(self) -> None:
        """Each task has a transition for each of its states, and one delivery if it ended and has a hook."""
        with self.sessions() as session:
            owed = session.scalars(
                select(SunoTask.task_id).join(Delivery, Delivery.suno_task_id == SunoTask.id)
            ).all()
            moves = session.execute(
                select(SunoTask.task_id, Transition.to_status).join(
                    Transition, Transition.suno_task_id == SunoTask.id
                )
            ).all()
        assert sorted(owed) == sorted(name for name in self.world.ended if name.startswith("hook"))
        begun = Counter((name, "SUBMITTED") for name in self.world.pending | self.world.ended)
        assert Counter(map(tuple, moves)) == begun + Counter((name, "SUCCESS") for name in self.world.ended)

    @invariant()
    def sizes_are_exact(self) -> None:
        """Each batch knows how many tasks it has, and one that nobody is asking about has some."""
        with self.sessions() as session:
            rows = session.execute(
                select(PollBatch.size, PollBatch.leased_until, func.count(SunoTask.id))
                .outerjoin(SunoTask, SunoTask.poll_batch_id == PollBatch.id)
                .group_by(PollBatch.id)
            ).all()
        for size, leased_until, count in rows:
            assert size == count <= BATCH_SIZE
            assert count or leased_until is not None

    def teardown(self) -> None:
        """The gateway is well again: within hours every task has ended, and none was lost on the way."""
        for _ in range(WELL_AGAIN_AFTER if self.settled else 0):
            if not self.world.pending:
                self.every_end_is_owed_once()
                return
            self.clock.wait(timedelta(hours=1))
            self.claim(free=8, claimers=1)
            while self.held:
                self.record((0, 2**BATCH_SIZE - 1, "last"))
        assert not self.settled, f"still pending: {self.world.pending}"


OUTAGE = Bad(trouble=Trouble.SERVER_ERROR, message="HTTP 502")


def claimed_by(batches: Sequence[ClaimedBatch]) -> Claimed:
    """Return what a claim took as a step."""
    return Claimed(
        leases={
            batch.lease.batch_id: Leased(
                claims=batch.lease.claims, until=batch.lease.leased_until, tasks=frozenset(batch.tasks)
            )
            for batch in batches
        }
    )


def seen(world: World) -> tuple[object, ...]:
    """Return of a world what the tables show."""
    leases: dict[int, tuple[int, datetime]] = {
        batch_id: (lease.claims, lease.until) for batch_id, lease in world.leases.items()
    }
    return world.pending, world.ended, leases, world.failing


@pytest.mark.timeout(LONGEST_S)
def test_no_task_is_asked_about_twice_at_once_nor_lost(
    sessions: Sessions, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order enqueues, claims, crashes, late answers and outages come, and at once.

    One live lease for a task, tokens that fence, an end that is never left and owed once, the gateway's limit
    and its one probe after trouble, sizes that are exact, nothing lost.
    """
    prove(Polls, sessions=sessions, portal=portal, monkeypatch=monkeypatch)
