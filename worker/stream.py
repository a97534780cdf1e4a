"""Keep a process's slots filled: claim, call, record, each outcome as it comes.

A *stream* belongs to a process and is shared by the Celery messages that ring it. One message at a time
runs it; another that arrives meanwhile wakes the runner, and goes on to another process if that cannot take
all that is due. A run claims no more than has a free slot
now, hands each claim to the event loop, and records outcomes in groups as they arrive; a slow peer so holds
its own slot and nothing else.

A run ends when nothing is in flight, nothing is due, and nothing will be before Beat's next tick. What will
be is waited for: that tick might come just before it, and the one after it a second late. It also stays
while its caller awaits work that only a ring can tell of: a message through the broker would begin a new one,
too late. After its budget a run also ends as soon as a successor has come to take over what is in flight;
until one has, it goes on, so that nothing depends on the broker being there.

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
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Generic, Protocol, TypeVar

from worker.bell import Bell
from worker.looks import LOOK_EVERY_S, Claimed, Looks
from worker.shift import Shift

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

RUN_BUDGET = timedelta(seconds=30)

# A call makes its request first and holds it until it is connected. All of a claim's at once took 3 MB for a
# moment, which a process then keeps. Eight at a time spare 1 MB more, and cost a twentieth more CPU.
STARTED_AT_ONCE = 16

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a record leaves to be done.

    `lets_through`: a limit that held back what is due has room again, so a look is worth it. `later`: what
    may wait until the freed slots are taken.
    """

    lets_through: bool = False
    later: Callable[[], None] | None = None


class Work(Protocol[Item, Outcome]):
    """The four steps of a use-case, as a stream runs them."""

    def claim(self, *, free: int) -> Claimed[Item]:
        """Take at most `free` due rows in one short transaction."""

    def call(self, item: Item) -> AsyncIterator[Outcome]:
        """Ask the peer; runs on the event loop and knows no SQL."""

    def record(self, finished: Sequence[tuple[Item, Outcome]]) -> Recorded:
        """Decide and write, in short transactions."""


class Submit(Protocol):
    """Starts a coroutine on the event loop from any thread."""

    def __call__(self, coroutine: Coroutine[Any, Any, None], /) -> object:
        """Start `coroutine`."""


class Stream(Generic[Item, Outcome]):
    """One process's flow of claims through a bounded number of slots."""

    def __init__(self, *, name: str, slots: int, work: Work[Item, Outcome], submit: Submit) -> None:
        """Make a stream of at most `slots` calls in flight; starts nothing."""
        self._name = name
        self._slots = slots
        self._work = work
        self._submit = submit
        self._shift = Shift()
        self._baton = threading.Lock()
        self._bell: Bell[Item, Outcome] = Bell()
        self._calls: set[asyncio.Task[None]] = set()
        # Written only by the holder of the baton.
        self._in_flight = 0
        self._stop = threading.Event()
        self._is_busy = False
        self._due_at = math.inf
        self._leaves_some = False
        self._after_record: Callable[[], None] | None = None

    @property
    def expects_outcomes(self) -> bool:
        """Whether one may come before Beat's next tick: a call is out, or one will be due by then.

        Without a run it is said by the last claim; what should be due for a second is another process's.
        """
        return self._is_busy or abs(self._due_at - time.monotonic()) <= LOOK_EVERY_S

    def ring(self) -> bool:
        """Wake the runner; False when there is none that may claim now."""
        runs = self._shift.tell(ring=self._bell.ring)
        return runs and self._may_claim()

    def run(
        self,
        *,
        stop: threading.Event,
        ring_successor: Callable[[], None],
        budget: timedelta = RUN_BUDGET,
        pass_on: Callable[[], None] = lambda: None,
        awaited: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Work until nothing is due; False when another run was under way and has been woken instead.

        `stop` ends claims at once; what is in flight is waited for and recorded. `ring_successor` is called
        once when the budget is spent and there is still work. `pass_on` is called when a run was under way
        that cannot claim now, has not yet heard of an earlier message, or leaves work that another process
        could take. While work is `awaited`, a run with nothing to do stays, to hear a ring at once.
        """
        is_deaf = self._bell.is_rung  # to the message before this one
        if not self._shift.begin(ring=self._bell.ring):
            if is_deaf or self._leaves_some or not self._may_claim():
                pass_on()
            return False
        with self._baton:
            self._stop = stop
            try:
                self._flow(ring_successor=ring_successor, budget=budget, awaited=awaited)
            except BaseException:
                self._shift.end()
                raise
            finally:
                self._is_busy = False
                self._follow_up()
        return True

    def _may_claim(self) -> bool:
        return not self._stop.is_set() and self._in_flight < self._slots

    def _flow(
        self, *, ring_successor: Callable[[], None], budget: timedelta, awaited: Callable[[], bool]
    ) -> None:
        end = time.monotonic() + budget.total_seconds()
        looks, rung = Looks(), False
        while True:
            now = time.monotonic()
            may_claim = self._may_claim()
            if may_claim and now >= looks.at:
                looks.learn(self._fill(), now=now, in_flight=self._in_flight)
            self._follow_up()
            stopped = self._stop.is_set()
            self._is_busy = self._in_flight > 0 or (looks.expect_more and not stopped)
            stays = self._is_busy or (awaited() and not stopped)
            if not stays and self._shift.end(unless=lambda: self._bell.has_news and not self._stop.is_set()):
                return
            if now >= end and not rung:
                rung = True
                self._shift.overrun()
                ring_successor()
            if self._shift.is_relieved:
                self._shift.end()
                return
            look_now, freed = self._listen(
                wait=max(0.0, looks.at - time.monotonic()) if may_claim else LOOK_EVERY_S
            )
            if look_now or (freed and looks.more):
                looks.at = 0.0

    def _fill(self) -> Claimed[Item]:
        """Claim for the free slots and start the calls."""
        claimed = self._work.claim(free=self._slots - self._in_flight)
        due_in = math.inf if claimed.due_in is None else claimed.due_in.total_seconds()
        self._due_at = time.monotonic() + due_in
        self._leaves_some = claimed.leaves_some
        if claimed.items:
            self._submit(self._start(claimed.items))
            self._in_flight += len(claimed.items)
        return claimed

    async def _start(self, items: Sequence[Item]) -> None:
        """Start all calls of a claim; waking the loop's thread once for each of them would cost more."""
        begun = 0
        try:
            for item in items:
                task = asyncio.create_task(self._drive(item))
                self._calls.add(task)  # the loop itself holds tasks weakly
                task.add_done_callback(self._calls.discard)
                begun += 1
                if begun % STARTED_AT_ONCE == 0:
                    await asyncio.sleep(0)
        finally:
            for _ in items[begun:]:  # cut off: their slots are free, their leases end by themselves
                self._bell.tell_end()

    async def _drive(self, item: Item) -> None:
        try:
            async for outcome in self._work.call(item):
                self._bell.tell_outcome(item, outcome)
        except Exception:
            # A fault of ours: the row's lease ends by itself and it is tried again.
            logger.exception("%s: a call failed in an unforeseen way", self._name)
        finally:
            self._bell.tell_end()

    def _follow_up(self) -> None:
        """Do what a record has left for later: it takes time, and the peers answer meanwhile."""
        step, self._after_record = self._after_record, None
        if step is not None:
            step()

    def _listen(self, *, wait: float) -> tuple[bool, bool]:
        """Wait for an event, record all that came; say whether to look at once and whether a slot is free."""
        heard = self._bell.listen(wait=wait, out=self._in_flight)
        self._in_flight -= heard.ended
        recorded = Recorded()
        if heard.finished:
            recorded = self._work.record(heard.finished)
            self._after_record = recorded.later
        return heard.rang or recorded.lets_through, heard.ended > 0
