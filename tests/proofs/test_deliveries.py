"""Whatever several dispatchers, receivers and operators do at once, no delivery leaves the ways it may go.

Every history ends with its receivers well again, and then nothing is owed any more.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from sqlalchemy import select

from tests.factory import add_task, exchange
from tests.proofs.ledger import (
    WAITS,
    Answer,
    Claimed,
    Pruned,
    Recorded,
    Recovered,
    Resent,
    Row,
    Step,
    ends,
)
from tests.proofs.together import LONGEST_S, Clock, Histories, at_once, prove
from worker.clients.exchange import Exchange
from worker.clients.portal import Portal
from worker.core.addresses import Allow
from worker.core.origins import OriginHealth, capacity
from worker.core.verdicts import Answered, Failed, PostError, PostOutcome
from worker.db import deliveries, origins
from worker.db.deliveries import Lease, Owed, State
from worker.db.models import Attempt, Delivery, Origin
from worker.db.session import Sessions
from worker.dispatcher import LEASE_MARGIN, RESERVE, Dispatcher
from worker.prune import prune
from worker.recovery import recover
from worker.replay import NotWatchedError, resend

TIMEOUT = timedelta(seconds=15)
RETENTION = timedelta(days=1)
LONG_AGO, FAR_AHEAD = timedelta(days=365), timedelta(days=365)
ORIGINS = ("https://one.example:443", "https://two.example:443")
MOST = 6  # in flight at one origin
DISPATCHERS = 3
WELL_AGAIN_AFTER = 60  # looks, an hour apart

SAYS: dict[Answer, PostOutcome] = {
    Answer.TAKEN: Answered(status_code=204, retry_after=None, excerpt=""),
    Answer.TROUBLE: Answered(status_code=500, retry_after=None, excerpt=""),
    Answer.GONE: Answered(status_code=410, retry_after=None, excerpt=""),
    Answer.DEAD: Failed(error=PostError.REFUSED, detail=""),
}

ALSO = ("recover", "prune", "record")

some = st.lists(st.integers(0, 99), min_size=1, max_size=3)


class Deliveries(Histories):
    """Claims, answers in time and late, crashes, resends, recoveries, deletions, one by one and at once."""

    def __init__(self, *, sessions: Sessions, clock: Clock, portal: Portal) -> None:
        """Begin with nothing owed."""
        super().__init__(sessions=sessions, clock=clock, portal=portal)
        self.dispatchers = [self.dispatcher() for _ in range(DISPATCHERS)]
        self.rows: dict[str, Row | None] = {}
        self.tasks: dict[str, str] = {}  # task_id by delivery
        self.finished_at: dict[str, datetime] = {}
        self.held: list[Lease] = []  # whose answers may still come

    def dispatcher(self) -> Dispatcher:
        """Return another process's dispatcher; nobody asks its client, as the rules hand in the answers."""
        return Dispatcher(
            sessions=self.sessions,
            secrets=lambda _gateway: (),
            retry_schedule=WAITS,
            timeout=TIMEOUT,
            origin_concurrency=MOST,
            client=NoClient(),
            submit=self.portal.submit,
        )

    @initialize()
    def begin(self) -> None:
        """Something is owed everywhere, or most histories would be about nothing."""
        for origin in ORIGINS:
            self.owe(origin=origin, count=3)

    @rule(origin=st.sampled_from(ORIGINS), count=st.integers(1, 5))
    def owe(self, origin: str, count: int) -> None:
        """Tasks end and owe their results."""
        now = self.clock.now
        for _ in range(count):
            with self.sessions.begin() as session:
                task_id = f"task-{len(self.rows):03}"
                row_id = add_task(session, status="SUCCESS", task_id=task_id, finished_at=now, data="1")
                owed = Owed(
                    id=f"msg_{len(self.rows):03}",
                    suno_task_id=row_id,
                    notify_hook=f"{origin}/hook",
                    origin=origin,
                )
                deliveries.add(session, owed=[owed], now=now)
            self.rows[owed.id] = Row(origin=origin, due_at=now)
            self.tasks[owed.id] = task_id
            self.finished_at[owed.id] = now

    @rule(seconds=st.sampled_from([1, 6, 31, 59, 61, 300, 90_000]))
    def wait(self, seconds: int) -> None:
        """Let time go by: retries come due, leases end, a breaker lets a probe through, tasks grow old."""
        self.clock.wait(timedelta(seconds=seconds))

    @rule(free=st.integers(1, 8), claimers=st.integers(1, DISPATCHERS))
    def claim(self, free: int, claimers: int) -> None:
        """Claim, alone or at the same moment as others: each within what its origin may have in flight."""
        before, busy = self.health(), self.in_flight()
        took = at_once([partial(one.claim, free=RESERVE + free) for one in self.dispatchers[:claimers]])
        leases = [lease for claimed in took for lease in claimed.items]
        for origin, count in Counter(lease.origin for lease in leases).items():
            limit = capacity(before[origin], most=MOST, now=self.clock.now)
            assert busy[origin] + count <= limit, f"{origin} has {busy[origin]} and got {count} of {limit}"
        self.settle({lease.id: [claimed_by(lease)] for lease in leases})
        self.held += leases

    @rule(free=st.integers(1, 8), claimers=st.integers(1, DISPATCHERS))
    def lapse(self, free: int, claimers: int) -> None:
        """Leases end, and what they held is claimed again; the answers to the first POSTs are late now."""
        self.claim(free=free, claimers=1)
        self.clock.wait(TIMEOUT + LEASE_MARGIN)
        self.claim(free=free, claimers=claimers)

    @rule(which=some, answer=st.sampled_from(Answer))
    def record(self, which: list[int], answer: Answer) -> None:
        """Answers come, in time or after their leases."""
        group = self.take(which)
        self.dispatchers[0].record([(lease, said(answer)) for lease in group])
        self.settle(recorded(group, answer))

    @rule(which=some)
    def crash(self, which: list[int]) -> None:
        """A process ends between its claim and its record: only its leases' ends are left of it."""
        self.take(which)

    @rule(which=st.integers(0, 99))
    def send_again(self, which: int) -> None:
        """An operator wants a result sent again."""
        self.settle(self.resend(which))

    @rule()
    def recover(self) -> None:
        """An operator wants all sent again that was given up."""
        self.recover_all()
        self.settle({delivery_id: [Recovered()] for delivery_id in self.rows})

    @rule()
    def prune(self) -> None:
        """What ended a day ago goes, but nothing that is still owed."""
        self.settle(self.prune_old())

    @rule(
        which=some,
        answer=st.sampled_from(Answer),
        again=st.integers(0, 99),
        also=st.sampled_from(ALSO),
        other=some,
    )
    def all_at_once(self, which: list[int], answer: Answer, again: int, also: str, other: list[int]) -> None:
        """Claims, answers, a resend and one thing more begin at the same moment."""
        busy = self.in_flight()
        first, second = self.take(which), self.take(other if also == "record" else [])
        took: list[Lease] = []

        def claim() -> dict[str, list[Step]]:
            leases = self.dispatchers[0].claim(free=RESERVE + 8).items
            took.extend(leases)
            return {lease.id: [claimed_by(lease)] for lease in leases}

        def record(dispatcher: Dispatcher, group: Sequence[Lease]) -> dict[str, list[Step]]:
            dispatcher.record([(lease, said(answer)) for lease in group])
            return recorded(group, answer)

        def more() -> dict[str, list[Step]]:
            if also == "prune":
                return self.prune_old()
            if also == "record":
                return record(self.dispatchers[2], second)
            self.recover_all()
            return {delivery_id: [Recovered()] for delivery_id in self.rows}

        work: list[Callable[[], dict[str, list[Step]]]] = [
            claim,
            partial(record, self.dispatchers[1], first),
            partial(self.resend, again),
            more,
        ]
        steps: dict[str, list[Step]] = {}
        for part in at_once(work):
            for delivery_id, found in part.items():
                steps.setdefault(delivery_id, []).extend(found)
        self.settle(steps)
        self.held += took
        for origin, count in self.in_flight().items():
            assert count <= max(busy[origin], MOST)

    def resend(self, which: int) -> dict[str, list[Step]]:
        """Resend one; return what became of it."""
        if not self.rows:
            return {}
        delivery_id = sorted(self.rows)[which % len(self.rows)]
        what = None
        with suppress(NotWatchedError), self.sessions.begin() as session:
            what = resend(session, task_id=self.tasks[delivery_id], allow=Allow()).what
        return {delivery_id: [Resent(said=what)]}

    def recover_all(self) -> None:
        """Recover all that was ever discarded."""
        now = self.clock.now
        for _ in recover(self.sessions, since=now - LONG_AGO, until=now + FAR_AHEAD):
            pass

    def prune_old(self) -> dict[str, list[Step]]:
        """Prune; return what that means for each delivery."""
        edge = self.clock.now - RETENTION
        prune(self.sessions, retention=RETENTION, stop=threading.Event())
        return {one: [Pruned(old=self.finished_at[one] < edge)] for one in self.rows}

    def take(self, which: Sequence[int]) -> list[Lease]:
        """Take leases out of those that are held."""
        return [self.held.pop(index % len(self.held)) for index in which if self.held]

    def settle(self, steps: dict[str, list[Step]]) -> None:
        """Compare the rows that these steps have left with what they may be; go on from there."""
        stored = self.stored()
        for delivery_id, mine in steps.items():
            found = stored.get(delivery_id)
            allowed = ends(self.rows[delivery_id], mine, now=self.clock.now)
            assert any(same(found, one) for one in allowed), f"{mine} left {found}, not one of {allowed}"
            self.rows[delivery_id] = found

    def stored(self) -> dict[str, Row]:
        """Return the deliveries as they are in the database."""
        with self.sessions() as session:
            posts: dict[str, list[int]] = {}
            for delivery_id, number in session.execute(select(Attempt.delivery_id, Attempt.number)):
                posts.setdefault(delivery_id, []).append(number)
            return {
                row.id: Row(
                    origin=row.origin,
                    due_at=row.next_attempt_at,
                    state=State(row.state),
                    claims=row.claims,
                    attempts=row.attempt_count,
                    leased_until=row.leased_until,
                    posts=tuple(sorted(posts.get(row.id, []))),
                )
                for row in session.scalars(select(Delivery))
            }

    def health(self) -> dict[str, OriginHealth]:
        """Return what is known of each origin."""
        with self.sessions.begin() as session:
            return origins.lock(session, origins=ORIGINS)

    def live(self) -> dict[str, list[datetime]]:
        """Return when the live leases of each origin end."""
        ends: dict[str, list[datetime]] = {origin: [] for origin in ORIGINS}
        for row in self.rows.values():
            if row is not None and row.leased_until is not None and row.leased_until > self.clock.now:
                ends[row.origin].append(row.leased_until)
        return ends

    def in_flight(self) -> dict[str, int]:
        """Count the live leases of each origin."""
        return {origin: len(ends) for origin, ends in self.live().items()}

    @invariant()
    def nothing_else_has_changed(self) -> None:
        """Each row is as the last step that concerned it has left it, and there is no other."""
        assert self.stored() == {name: row for name, row in self.rows.items() if row is not None}

    @invariant()
    def nothing_that_is_owed_is_out_of_sight(self) -> None:
        """Each origin with something PENDING is looked at when that is due and may be sent."""
        with self.sessions() as session:
            looks = {row.origin: row for row in session.scalars(select(Origin))}
        now, busy = self.clock.now, self.live()
        for row in self.rows.values():
            if row is not None and row.state is State.PENDING:
                origin = looks[row.origin]
                assert origin.next_claim_at is not None
                assert origin.next_claim_at <= max(
                    now, row.due_at, origin.open_until or now, min(busy[row.origin], default=now)
                )

    def teardown(self) -> None:
        """Receivers are well again: within hours each delivery ends, and none was lost on the way."""
        for _ in range(WELL_AGAIN_AFTER):
            if not any(row is not None and row.state is State.PENDING for row in self.rows.values()):
                return
            self.clock.wait(timedelta(hours=1))
            self.claim(free=8, claimers=1)
            while self.held:
                group = list({lease.id: lease for lease in self.held}.values())  # of each delivery one
                self.held = [lease for lease in self.held if lease not in group]
                self.dispatchers[0].record([(lease, said(Answer.TAKEN)) for lease in group])
                self.settle(recorded(group, Answer.TAKEN))
        pytest.fail(f"still owed: {self.rows}")


class NoClient:
    """Stands where a dispatcher's client would."""

    async def post(self, post: object) -> Exchange:
        """Fail: nobody asks."""
        raise NotImplementedError


def claimed_by(lease: Lease) -> Claimed:
    """Return a claim as a step."""
    return Claimed(claims=lease.claims, until=lease.claimed_at + TIMEOUT + LEASE_MARGIN)


def recorded(group: Sequence[Lease], answer: Answer) -> dict[str, list[Step]]:
    """Return the records of a group as steps; two of them may be of one delivery."""
    steps: dict[str, list[Step]] = {}
    for lease in group:
        steps.setdefault(lease.id, []).append(Recorded(claims=lease.claims, answer=answer))
    return steps


def said(answer: Answer) -> Exchange:
    """Return a POST that was answered so."""
    return exchange(SAYS[answer])


def same(found: Row | None, wanted: Row | None) -> bool:
    """Say whether a row is what was wanted; a retry may be due a little later, and never earlier."""
    if found is None or wanted is None:
        return found is wanted
    if found.state is not State.PENDING:
        return replace(found, due_at=wanted.due_at) == wanted
    spread = timedelta(seconds=30) * 0.2
    on_time = wanted.due_at <= found.due_at <= wanted.due_at + spread
    return on_time and replace(found, due_at=wanted.due_at) == wanted


@pytest.mark.timeout(LONGEST_S)
def test_no_delivery_is_sent_twice_at_once_nor_lost(
    sessions: Sessions, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In whatever order claims, crashes, late answers, resends, recoveries and deletions come, and at once.

    One live lease for a delivery, tokens that fence, ends that only an operator or a late 2xx leaves, limits
    of origins and one probe of a breaker, an attempt row for each POST that was recorded, nothing lost.
    """
    prove(Deliveries, sessions=sessions, portal=portal, monkeypatch=monkeypatch)
