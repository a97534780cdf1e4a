"""Keep a process's slots filled: claim, call, record, each outcome as it comes.

A *stream* belongs to a process and is shared by the Celery messages that ring it. One message at a time
runs it; another that arrives meanwhile only wakes the runner. A run claims no more than has a free slot
now, hands each claim to the event loop, and records outcomes in groups as they arrive; a slow peer so holds
its own slot and nothing else.

A run ends when nothing is in flight, nothing is due, and nothing will be before Beat's next tick. What will
be is waited for: that tick might come just before it, and the one after it a second late. After its budget a
run also ends as soon as a successor has come to take over what is in flight; until one has, it goes on, so
that nothing depends on the broker being there.

Limits: SQL runs in the runner's thread, so one stream uses at most one core for it. More throughput is more
worker processes.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

RUN_BUDGET = timedelta(seconds=30)
GROUP = 200  # outcomes recorded together at most
LINGER_S = 0.01  # how long an outcome waits for company: a transaction for one costs as much as for fifty
LOOK_EVERY_S = 1.0  # how often a run looks for newly due rows while it waits for answers; Beat's tick

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Generic[Item]):
    """What a claim took.

    `more`: it was held back by a limit, so freed slots are worth another look. `full`: nothing else is worth
    one, for until an outcome is recorded the limits let no more through. `due_in`: how long until what is not
    due yet will be; None where nobody can say.
    """

    items: Sequence[Item]
    more: bool
    due_in: timedelta | None = None
    full: bool = False


class Work(Protocol[Item, Outcome]):
    """The four steps of a use-case, as a stream runs them."""

    def claim(self, *, free: int) -> Claimed[Item]:
        """Take at most `free` due rows in one short transaction."""

    def call(self, item: Item) -> AsyncIterator[Outcome]:
        """Ask the peer; runs on the event loop and knows no SQL."""

    def record(self, finished: Sequence[tuple[Item, Outcome]]) -> None:
        """Decide and write, in short transactions."""


class Submit(Protocol):
    """Starts a coroutine on the event loop from any thread."""

    def __call__(self, coroutine: Coroutine[Any, Any, None], /) -> object:
        """Start `coroutine`."""


@dataclass(frozen=True, slots=True)
class _Ring:
    """Somebody says that work is due."""


@dataclass(frozen=True, slots=True)
class _Arrived(Generic[Item, Outcome]):
    item: Item
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class _Ended:
    """A call is over; its slot is free."""


@dataclass(slots=True)
class _Turn:
    """Who runs, and who waits to run next; guarded by the stream's lock."""

    running: bool = False
    overdue: bool = False
    successor: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True)
class _Looks:
    """When the next claim is worth its statement, in seconds of the monotonic clock."""

    at: float = 0.0
    due_at: float = math.inf
    more: bool = False

    @property
    def expect_more(self) -> bool:
        """Whether a run with nothing in flight has something to wait for."""
        return self.more or self.due_at <= self.at

    def learn(self, claimed: Claimed[Any], *, now: float, in_flight: int) -> None:
        """Take in what a claim that began at `now` said."""
        took = bool(claimed.items)
        # What was held back by a limit stays held back until a call of ours ends.
        self.more = claimed.more or (self.more and not took and in_flight > 0)
        # What was waited for and is still not due, or another's by now, is not waited for again.
        due_in = claimed.due_in if took or now < self.due_at else None
        self.due_at = math.inf if due_in is None else time.monotonic() + due_in.total_seconds()
        # While a claim takes something and may take more, the next one follows at once.
        at_once = took and self.more and not claimed.full
        self.at = now if at_once else min(self.due_at, now + LOOK_EVERY_S)


class Stream(Generic[Item, Outcome]):
    """One process's flow of claims through a bounded number of slots."""

    def __init__(self, *, name: str, slots: int, work: Work[Item, Outcome], submit: Submit) -> None:
        """Make a stream of at most `slots` calls in flight; starts nothing."""
        self._name = name
        self._slots = slots
        self._work = work
        self._submit = submit
        self._turn = _Turn()
        self._baton = threading.Lock()
        self._bell: SimpleQueue[_Ring | _Arrived[Item, Outcome] | _Ended] = SimpleQueue()
        self._calls: set[asyncio.Task[None]] = set()
        self._in_flight = 0  # touched only by the holder of the baton

    def ring(self) -> None:
        """Wake the runner, if there is one."""
        self._bell.put(_Ring())

    def run(
        self, *, stop: threading.Event, ring_successor: Callable[[], None], budget: timedelta = RUN_BUDGET
    ) -> bool:
        """Work until nothing is due; False when another run was under way and has been woken instead.

        `stop` ends claims at once; what is in flight is waited for and recorded. `ring_successor` is called
        once when the budget is spent and there is still work.
        """
        if not self._take_turn():
            return False
        with self._baton:
            try:
                self._flow(stop=stop, ring_successor=ring_successor, budget=budget)
            except BaseException:
                self._end_turn(unless_rung=False)
                raise
        return True

    def _take_turn(self) -> bool:
        with self._turn.lock:
            if not self._turn.running:
                self._turn.running = True
                return True
            # Under the lock, so that a runner about to end hears it, or has ended and this one runs.
            self.ring()
            if self._turn.overdue and not self._turn.successor:
                self._turn.successor = True
                return True
            return False

    def _end_turn(self, *, unless_rung: bool) -> bool:
        """Give the turn to the successor or to nobody; False when a ring is to be heard first."""
        with self._turn.lock:
            if unless_rung and not self._bell.empty():
                return False
            self._turn.running = self._turn.successor
            self._turn.overdue = self._turn.successor = False
            return True

    def _flow(self, *, stop: threading.Event, ring_successor: Callable[[], None], budget: timedelta) -> None:
        end = time.monotonic() + budget.total_seconds()
        looks, rung = _Looks(), False
        while True:
            now = time.monotonic()
            may_look = not stop.is_set() and self._in_flight < self._slots
            if may_look and now >= looks.at:
                claimed = self._fill()
                looks.learn(claimed, now=now, in_flight=self._in_flight)
            idle = self._in_flight == 0 and (stop.is_set() or not looks.expect_more)
            if idle and self._end_turn(unless_rung=not stop.is_set()):
                return
            if now >= end and not rung:
                with self._turn.lock:
                    self._turn.overdue = rung = True
                ring_successor()
            if self._is_relieved():
                self._end_turn(unless_rung=False)
                return
            rang, freed = self._listen(
                wait=max(0.0, looks.at - time.monotonic()) if may_look else LOOK_EVERY_S
            )
            if rang or (freed and looks.more):
                looks.at = 0.0

    def _fill(self) -> Claimed[Item]:
        """Claim for the free slots and start the calls."""
        claimed = self._work.claim(free=self._slots - self._in_flight)
        if claimed.items:
            self._submit(self._start(claimed.items))
            self._in_flight += len(claimed.items)
        return claimed

    async def _start(self, items: Sequence[Item]) -> None:
        """Start all calls of a claim; waking the loop's thread once for each of them would cost more."""
        for item in items:
            task = asyncio.create_task(self._drive(item))
            self._calls.add(task)  # the loop itself holds tasks weakly
            task.add_done_callback(self._calls.discard)

    async def _drive(self, item: Item) -> None:
        try:
            async for outcome in self._work.call(item):
                self._bell.put(_Arrived(item, outcome))
        except Exception:
            # A fault of ours: the row's lease ends by itself and it is tried again.
            logger.exception("%s: a call failed in an unforeseen way", self._name)
        finally:
            self._bell.put(_Ended())

    def _listen(self, *, wait: float) -> tuple[bool, bool]:
        """Wait for an event, record all that came; say whether it rang and whether a slot is free."""
        events = self._events(wait=wait)
        finished = [(event.item, event.outcome) for event in events if isinstance(event, _Arrived)]
        ended = sum(isinstance(event, _Ended) for event in events)
        self._in_flight -= ended
        if finished:
            self._work.record(finished)
        return any(isinstance(event, _Ring) for event in events), ended > 0

    def _events(self, *, wait: float) -> list[_Ring | _Arrived[Item, Outcome] | _Ended]:
        """Wait for an event; then, while calls are out, a moment more for others to be recorded with it."""
        events: list[_Ring | _Arrived[Item, Outcome] | _Ended] = []
        out = self._in_flight
        end = 0.0
        with suppress(Empty):
            while len(events) < 2 * GROUP:
                left = end - time.monotonic() if events else wait
                event = self._bell.get(timeout=left) if left > 0 else self._bell.get_nowait()
                out -= isinstance(event, _Ended)
                if not events and not isinstance(event, _Ring):
                    end = time.monotonic() + LINGER_S
                if out == 0:
                    end = 0.0
                events.append(event)
        return events

    def _is_relieved(self) -> bool:
        with self._turn.lock:
            return self._turn.successor
