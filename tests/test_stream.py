"""A stream keeps its slots filled, records outcomes as they come, and runs once per process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from worker.clients.portal import Portal
from worker.looks import Claimed
from worker.stream import STARTED_AT_ONCE, Recorded, Stream

DAY = timedelta(days=1)
WAIT_S = 10.0  # how long a test waits for what must happen


@dataclass
class Desk:
    """Work that a test steers: it hands out numbers and answers those that have been let go."""

    due: list[int]
    held: dict[int, asyncio.Event] = field(default_factory=dict)
    claims: list[int] = field(default_factory=list)
    recorded: list[int] = field(default_factory=list)
    reached: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    seen: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def claim(self, *, free: int) -> Claimed[int]:
        """Hand out the first that are due."""
        self.claims.append(free)
        items, self.due = self.due[:free], self.due[free:]
        return Claimed(items=items, more=bool(self.due))

    async def call(self, item: int) -> AsyncIterator[int]:
        """Answer at once, or when the test lets go."""
        self.reached.release()
        if item in self.held:
            await self.held[item].wait()
        if item < 0:
            raise ZeroDivisionError
        yield item

    def record(self, finished: Sequence[tuple[int, int]]) -> Recorded:
        """Note the outcomes."""
        self.recorded += [outcome for _, outcome in finished]
        for _ in finished:
            self.seen.release()
        return Recorded()


@pytest.fixture
def portal() -> Iterator[Portal]:
    """Give an event loop in a thread of its own."""
    portal = Portal.start()
    yield portal
    portal.close()


def never() -> None:
    """Take no notice of a ring."""


def in_thread(run: Callable[[], bool]) -> Future[bool]:
    """Start `run` in a thread and return its future result."""
    future: Future[bool] = Future()
    threading.Thread(target=lambda: future.set_result(run())).start()
    return future


def let_go(portal: Portal, event: asyncio.Event) -> None:
    """Set an event of the loop from the test's thread."""

    async def set_() -> None:
        event.set()

    portal.submit(set_()).result()


def test_all_that_is_due_is_recorded_in_a_bounded_number_of_slots(portal: Portal) -> None:
    """A claim never asks for more than has a free slot."""
    desk = Desk(due=list(range(50)))
    stream = Stream(name="t", slots=8, work=desk, submit=portal.submit)
    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert sorted(desk.recorded) == list(range(50))
    assert max(desk.claims) == 8
    assert min(desk.claims) > 0


def test_free_slots_are_filled_without_waiting(portal: Portal) -> None:
    """A claim may take less than there is: the next one follows at once, although no call has ended."""
    desk = Desk(due=list(range(40)), held={number: asyncio.Event() for number in range(40)})
    whole = desk.claim
    desk.claim = lambda *, free: whole(free=min(free, 4))  # type: ignore[method-assign]
    stream = Stream(name="t", slots=30, work=desk, submit=portal.submit)
    done = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never))
    for _ in range(30):
        assert desk.reached.acquire(timeout=0.9)  # less than the second after which it looks anyway
    for event in desk.held.values():
        let_go(portal, event)
    assert done.result(timeout=WAIT_S)


def test_what_a_limit_held_back_is_looked_at_when_a_record_lets_it_through(portal: Portal) -> None:
    """Looking again at limits that are reached is in vain; what frees one of them is looked at at once."""
    desk = Desk(due=list(range(8)), held={number: asyncio.Event() for number in range(8)})
    whole_claim, whole_record = desk.claim, desk.record

    def claim(*, free: int) -> Claimed[int]:
        return Claimed(items=whole_claim(free=min(free, 4)).items, more=False)

    def record(finished: Sequence[tuple[int, int]]) -> Recorded:
        whole_record(finished)
        return Recorded(lets_through=(3, 3) in finished)

    desk.claim, desk.record = claim, record  # type: ignore[method-assign]
    stream = Stream(name="t", slots=30, work=desk, submit=portal.submit)
    done = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never))
    for _ in range(4):
        assert desk.reached.acquire(timeout=WAIT_S)
    for number in (0, 3):
        assert len(desk.claims) == 1
        let_go(portal, desk.held[number])
        assert desk.seen.acquire(timeout=WAIT_S)
    for _ in range(4):
        assert desk.reached.acquire(timeout=0.9)  # less than the second after which it looks anyway
    assert len(desk.claims) == 2
    for event in desk.held.values():
        let_go(portal, event)
    assert done.result(timeout=WAIT_S)


@dataclass
class Beginners(Desk):
    """Calls that hold something for three rounds of the loop, as a request until it is connected."""

    beginning: int = 0
    most: int = 0

    async def call(self, item: int) -> AsyncIterator[int]:
        """Hold it, let go of it, answer."""
        self.beginning += 1
        self.most = max(self.most, self.beginning)
        for _ in range(3):
            await asyncio.sleep(0)
        self.beginning -= 1
        yield item


def test_the_calls_of_a_claim_begin_a_few_at_a_time(portal: Portal) -> None:
    """What they need to begin is held by some dozens, however many there are, and all of them begin."""
    desk = Beginners(due=list(range(40 * STARTED_AT_ONCE)))
    stream = Stream(name="t", slots=len(desk.due), work=desk, submit=portal.submit)

    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert sorted(desk.recorded) == list(range(40 * STARTED_AT_ONCE))
    assert len(desk.claims) <= 2
    assert desk.most <= 5 * STARTED_AT_ONCE


def test_calls_that_never_began_hold_no_slot(portal: Portal) -> None:
    """A start that is cut off half-way, as when the clients close, leaves a run that ends all the same."""
    desk = Beginners(due=list(range(4 * STARTED_AT_ONCE)))

    def cut_off(start: Coroutine[Any, Any, None]) -> object:
        async def begin() -> None:
            started = asyncio.create_task(start)
            await asyncio.sleep(0)
            started.cancel()

        return portal.submit(begin())

    stream = Stream(name="t", slots=len(desk.due), work=desk, submit=cut_off)
    done = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never))

    assert done.result(timeout=WAIT_S)
    assert sorted(desk.recorded) == list(range(STARTED_AT_ONCE))


def test_a_hanging_call_holds_its_own_slot_only(portal: Portal) -> None:
    """Forty-nine others pass a peer that does not answer, through the one slot that is left."""
    desk = Desk(due=list(range(50)), held={0: asyncio.Event()})
    stream = Stream(name="t", slots=2, work=desk, submit=portal.submit)
    done = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never))
    for _ in range(49):
        assert desk.seen.acquire(timeout=WAIT_S)
    assert sorted(desk.recorded) == list(range(1, 50))
    let_go(portal, desk.held[0])
    assert done.result(timeout=WAIT_S)
    assert desk.recorded[-1] == 0


def test_a_second_message_joins_and_wakes_the_running_one(portal: Portal) -> None:
    """It returns at once, and what became due meanwhile is taken without waiting for the next look."""
    desk = Desk(due=[0], held={0: asyncio.Event()})
    stream = Stream(name="t", slots=2, work=desk, submit=portal.submit)
    done = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never))
    assert desk.reached.acquire(timeout=WAIT_S)
    desk.due = [1]
    assert not stream.run(stop=threading.Event(), ring_successor=never)
    assert desk.seen.acquire(timeout=WAIT_S)
    assert desk.recorded == [1]
    let_go(portal, desk.held[0])
    assert done.result(timeout=WAIT_S)


@dataclass
class Clockwork(Desk):
    """Work that becomes due at a known moment and not a moment earlier."""

    due_at: float = 0.0

    def claim(self, *, free: int) -> Claimed[int]:
        """Hand out what is due, or say how long it takes until it is."""
        left = self.due_at - time.monotonic()
        if left <= 0:
            return Desk.claim(self, free=free)
        self.claims.append(free)
        self.seen.release()
        return Claimed(items=[], more=False, due_in=timedelta(seconds=left))


def test_a_run_waits_for_what_is_due_before_the_next_tick(portal: Portal) -> None:
    """It is taken when it is due, by one more look, although nobody rings."""
    desk = Clockwork(due=[1], due_at=time.monotonic() + 0.2)
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert desk.recorded == [1]
    assert (
        len(desk.claims) <= 3
    )  # one that is told to wait, perhaps one that wakes a hair early, one that takes


def test_a_run_does_not_wait_for_what_the_next_tick_will_find(portal: Portal) -> None:
    """Nothing is held for what is due in a second or later: one look, and the run ends."""
    desk = Clockwork(due=[1], due_at=time.monotonic() + 3600)
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert (desk.recorded, desk.claims) == ([], [1])


def test_what_is_not_due_when_it_should_be_is_not_waited_for_again(portal: Portal) -> None:
    """Another worker may have taken it, or a clock stands still: two looks, and the run ends."""
    desk = Desk(due=[])
    whole = desk.claim
    desk.claim = lambda *, free: replace(whole(free=free), due_in=timedelta(seconds=0.1))  # type: ignore[method-assign]
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert desk.claims == [1, 1]


def test_a_run_that_waits_stops_at_once(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop and a ring end the wait; what would have been due is left to the next worker."""
    monkeypatch.setattr("worker.looks.LOOK_EVERY_S", 7200.0)
    desk = Clockwork(due=[1], due_at=time.monotonic() + 3600)
    stop = threading.Event()
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    done = in_thread(lambda: stream.run(stop=stop, ring_successor=never))
    assert desk.seen.acquire(timeout=WAIT_S)
    stop.set()
    stream.ring()
    assert done.result(timeout=WAIT_S)
    assert (desk.recorded, desk.due) == ([], [1])


def test_a_run_stays_while_work_is_awaited(portal: Portal) -> None:
    """A ring is heard at once by a run that had nothing to do, and with nothing awaited any more it ends."""
    desk = Desk(due=[])
    awaited = threading.Event()
    awaited.set()
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    done = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never, awaited=awaited.is_set))
    for number in (1, 2):
        desk.due = [number]
        while not stream.ring():  # until it has begun
            assert not done.done()
        assert desk.seen.acquire(timeout=0.9)  # less than the second after which it looks anyway
    awaited.clear()
    stream.ring()
    assert done.result(timeout=WAIT_S)
    assert desk.recorded == [1, 2]


def test_a_run_that_stays_stops_at_once(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is awaited is left to other workers when this one is told to stop."""
    monkeypatch.setattr("worker.looks.LOOK_EVERY_S", 7200.0)
    stop = threading.Event()
    stream = Stream(name="t", slots=1, work=Desk(due=[]), submit=portal.submit)
    done = in_thread(lambda: stream.run(stop=stop, ring_successor=never, awaited=lambda: True))
    while not stream.ring():  # until it has begun
        assert not done.done()
    stop.set()
    stream.ring()
    assert done.result(timeout=WAIT_S)


def test_who_rings_is_told_when_nobody_can_take_it(portal: Portal) -> None:
    """Without a run, with no slot free, or while it stops: then another process is to be rung."""
    desk = Desk(due=[0], held={0: asyncio.Event()})
    stop = threading.Event()
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    assert not stream.ring()
    done = in_thread(lambda: stream.run(stop=stop, ring_successor=never))
    assert desk.reached.acquire(timeout=WAIT_S)
    end = time.monotonic() + WAIT_S
    while stream.ring():  # until the runner has counted the slot that it took
        assert time.monotonic() < end
    stop.set()
    let_go(portal, desk.held[0])
    assert done.result(timeout=WAIT_S)
    assert not stream.ring()


def test_a_ring_from_before_the_run_costs_no_second_look(portal: Portal) -> None:
    """The run's first look answers it."""
    desk = Desk(due=[])
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    stream.ring()
    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert desk.claims == [1]


@pytest.mark.parametrize(
    ("slots", "left", "passed_on"),
    [
        pytest.param(1, {}, 1, id="no slot is free"),
        pytest.param(2, {"more": True, "leaves_some": True}, 1, id="others could take some"),
        pytest.param(2, {"held_back": {"o": True}}, 0, id="nobody could take more"),
        pytest.param(2, {}, 0, id="nothing is left"),
    ],
)
def test_a_message_that_joins_is_passed_on_to_who_could_answer_it(
    portal: Portal, slots: int, left: dict[str, bool], passed_on: int
) -> None:
    """A run with no slot for what is due gives the message away; one that took all that it may keeps it."""
    desk = Desk(due=[0], held={0: asyncio.Event()})
    whole, said = desk.claim, dict(left)
    desk.claim = lambda *, free: replace(whole(free=free), **said)  # type: ignore[method-assign,arg-type]
    stream = Stream(name="t", slots=slots, work=desk, submit=portal.submit)
    passed: list[int] = []
    done = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never))
    assert desk.reached.acquire(timeout=WAIT_S)
    end = time.monotonic() + WAIT_S
    while slots == 1 and stream.ring():  # until the runner has counted the slot that it took
        assert time.monotonic() < end
    assert not stream.run(stop=threading.Event(), ring_successor=never, pass_on=lambda: passed.append(slots))
    assert len(passed) == passed_on
    said.clear()  # or the run would go on looking
    let_go(portal, desk.held[0])
    assert done.result(timeout=WAIT_S)


def test_a_message_that_joins_a_run_about_to_stop_is_passed_on(portal: Portal) -> None:
    """What it would have claimed is left to others, and they hear of it at once."""
    desk = Desk(due=[0], held={0: asyncio.Event()})
    stop = threading.Event()
    stream = Stream(name="t", slots=2, work=desk, submit=portal.submit)
    passed: list[str] = []
    done = in_thread(lambda: stream.run(stop=stop, ring_successor=never))
    assert desk.reached.acquire(timeout=WAIT_S)
    stop.set()
    assert not stream.run(stop=stop, ring_successor=never, pass_on=lambda: passed.append("on"))
    assert passed == ["on"]
    let_go(portal, desk.held[0])
    assert done.result(timeout=WAIT_S)


def test_a_message_that_joins_a_run_that_does_not_listen_is_passed_on(portal: Portal) -> None:
    """A record may wait long for a database that is away only here: the second message finds that out."""
    desk = Desk(due=[0])
    recording, may_record = threading.Event(), threading.Event()

    def record(finished: Sequence[tuple[int, int]]) -> Recorded:
        del finished
        recording.set()
        may_record.wait(WAIT_S)
        return Recorded()

    desk.record = record  # type: ignore[method-assign]
    stream = Stream(name="t", slots=2, work=desk, submit=portal.submit)
    done = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never))
    assert recording.wait(WAIT_S)
    passed: list[int] = []
    for number in (1, 2):
        join = partial(stream.run, stop=threading.Event(), ring_successor=never)
        assert not join(pass_on=partial(passed.append, number))
    assert passed == [2]
    may_record.set()
    assert done.result(timeout=WAIT_S)


def test_what_a_record_leaves_for_later_waits_for_the_next_claim(portal: Portal) -> None:
    """Freed slots are taken first; nothing is left undone when the run ends."""
    desk = Desk(due=[0, 1])
    claim, record, steps = desk.claim, desk.record, list[str]()

    def claims(*, free: int) -> Claimed[int]:
        steps.append("claim")
        return claim(free=free)

    def records(finished: Sequence[tuple[int, int]]) -> Recorded:
        record(finished)
        steps.append("record")
        return Recorded(later=lambda: steps.append("later"))

    desk.claim, desk.record = claims, records  # type: ignore[method-assign]
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert steps == ["claim", "record", "claim", "later", "record", "later"]


def test_outcomes_are_expected_while_a_call_is_out(portal: Portal) -> None:
    """And neither before nor after."""
    desk = Desk(due=[0], held={0: asyncio.Event()})
    stream = Stream(name="t", slots=2, work=desk, submit=portal.submit)
    assert not stream.expects_outcomes
    done = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never))
    assert desk.reached.acquire(timeout=WAIT_S)
    desk.due = [1]
    stream.run(stop=threading.Event(), ring_successor=never)  # a ring, so that the run is past its first look
    assert desk.seen.acquire(timeout=WAIT_S)
    assert stream.expects_outcomes
    let_go(portal, desk.held[0])
    assert done.result(timeout=WAIT_S)
    assert not stream.expects_outcomes


@pytest.mark.parametrize(("due_in_s", "expected"), [(3000.0, True), (9000.0, False)])
def test_outcomes_are_expected_when_something_is_about_to_be_due(
    portal: Portal, monkeypatch: pytest.MonkeyPatch, due_in_s: float, *, expected: bool
) -> None:
    """By what the last claim of this process said, also when the run that asked has ended."""
    monkeypatch.setattr("worker.stream.LOOK_EVERY_S", 3600.0)
    desk = Clockwork(due=[1], due_at=time.monotonic() + due_in_s)
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert stream.expects_outcomes is expected


def test_stop_ends_claims_and_waits_for_what_is_in_flight(portal: Portal) -> None:
    """Nothing new is claimed after the stop, and what was claimed is recorded."""
    desk = Desk(due=[0, 1], held={0: asyncio.Event()})
    stop = threading.Event()
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    done = in_thread(lambda: stream.run(stop=stop, ring_successor=never))
    assert desk.reached.acquire(timeout=WAIT_S)
    stop.set()
    let_go(portal, desk.held[0])
    assert done.result(timeout=WAIT_S)
    assert (desk.recorded, desk.due) == ([0], [1])


def test_a_run_past_its_budget_is_taken_over_with_its_calls(portal: Portal) -> None:
    """The successor records what the first run left in flight, and a third message only joins."""
    desk = Desk(due=[0], held={0: asyncio.Event()})
    rung = threading.Event()
    stream = Stream(name="t", slots=2, work=desk, submit=portal.submit)
    first = in_thread(
        lambda: stream.run(stop=threading.Event(), ring_successor=rung.set, budget=timedelta(0))
    )
    assert rung.wait(timeout=WAIT_S)
    second = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never, budget=DAY))
    assert first.result(timeout=WAIT_S)
    assert not stream.run(stop=threading.Event(), ring_successor=never)
    assert not second.done()
    let_go(portal, desk.held[0])
    assert second.result(timeout=WAIT_S)
    assert desk.recorded == [0]


def test_a_run_without_a_successor_goes_on(portal: Portal) -> None:
    """A broker that is away does not end the work: the run past its budget records and claims on."""
    desk = Desk(due=[0, 1, 2], held={0: asyncio.Event()})
    rung = threading.Event()
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    done = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=rung.set, budget=timedelta(0)))
    assert rung.wait(timeout=WAIT_S)
    let_go(portal, desk.held[0])
    assert done.result(timeout=WAIT_S)
    assert desk.recorded == [0, 1, 2]


def test_a_fault_in_a_call_frees_its_slot(portal: Portal, caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody foresaw is logged once, and the others go on."""
    desk = Desk(due=[-1, 1, 2])
    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert desk.recorded == [1, 2]
    assert [record.getMessage() for record in caplog.records] == ["t: a call failed in an unforeseen way"]


def test_an_error_in_the_record_ends_the_run_and_the_next_one_works(portal: Portal) -> None:
    """The stream is not left as if somebody still ran it."""
    desk = Desk(due=[1])

    def fail(finished: Sequence[tuple[int, int]]) -> Recorded:
        raise ZeroDivisionError(len(finished))

    stream = Stream(name="t", slots=1, work=desk, submit=portal.submit)
    whole, desk.record = desk.record, fail  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        stream.run(stop=threading.Event(), ring_successor=never)
    desk.record = whole  # type: ignore[method-assign]
    desk.due = [2]
    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert desk.recorded == [2]


@dataclass
class LateDesk(Desk):
    """Work of which more becomes due while the last outcome is being recorded."""

    while_recording: Callable[[], None] = never

    def record(self, finished: Sequence[tuple[int, int]]) -> Recorded:
        """Note the outcomes, and let happen what happens meanwhile, once."""
        recorded = Desk.record(self, finished)
        happens, self.while_recording = self.while_recording, never
        happens()
        return recorded


def test_a_ring_during_the_last_record_is_not_lost(portal: Portal) -> None:
    """A message that joins a run which is about to end still has its work done by that run."""
    desk = LateDesk(due=[0])
    stream = Stream(name="t", slots=2, work=desk, submit=portal.submit)
    joined: list[bool] = []

    def ring() -> None:
        desk.due = [1]
        second = in_thread(lambda: stream.run(stop=threading.Event(), ring_successor=never))
        joined.append(not second.result(timeout=WAIT_S))

    desk.while_recording = ring
    assert stream.run(stop=threading.Event(), ring_successor=never)
    assert joined == [True]
    assert desk.recorded == [0, 1]
