"""What the runner of a stream listens to: rings, and the outcomes and ends of calls.

An outcome waits a moment for company, so that many are recorded together.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

GROUP = 200  # outcomes recorded together at most
LINGER_S = 0.01  # how long an outcome waits for company: a transaction for one costs as much as for fifty


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard(Generic[Item, Outcome]):
    """What came since the runner last listened: whether it was rung, what came back, how many calls ended."""

    rang: bool
    finished: list[tuple[Item, Outcome]]
    ended: int


class Bell(Generic[Item, Outcome]):
    """One runner's ear. Anybody may ring and tell from any thread; only the runner listens."""

    def __init__(self) -> None:
        """Begin with nothing to hear."""
        self._rung = False
        self._events: SimpleQueue[_Ring | _Arrived[Item, Outcome] | _Ended] = SimpleQueue()

    @property
    def has_news(self) -> bool:
        """Whether something waits to be heard: a ring, an outcome or an end."""
        return not self._events.empty()

    @property
    def is_rung(self) -> bool:
        """Whether somebody has rung and was not heard yet; now and then False although one was."""
        return self._rung

    def ring(self) -> None:
        """Say that work is due."""
        self._rung = True
        self._events.put(_Ring())

    def tell_outcome(self, item: Item, outcome: Outcome) -> None:
        """Say what came of a call; others may follow from the same one."""
        self._events.put(_Arrived(item, outcome))

    def tell_end(self) -> None:
        """Say that a call is over."""
        self._events.put(_Ended())

    def listen(self, *, wait: float, out: int) -> Heard[Item, Outcome]:
        """Wait for an event; then, while any of `out` calls is out, a moment more for what comes with it."""
        events = self._gather(wait=wait, out=out)
        rang = any(isinstance(event, _Ring) for event in events)
        if rang:
            self._rung = False
        return Heard(
            rang=rang,
            finished=[(event.item, event.outcome) for event in events if isinstance(event, _Arrived)],
            ended=sum(isinstance(event, _Ended) for event in events),
        )

    def _gather(self, *, wait: float, out: int) -> list[_Ring | _Arrived[Item, Outcome] | _Ended]:
        events: list[_Ring | _Arrived[Item, Outcome] | _Ended] = []
        end = 0.0
        with suppress(Empty):
            while len(events) < 2 * GROUP:
                left = end - time.monotonic() if events else wait
                event = self._events.get(timeout=left) if left > 0 else self._events.get_nowait()
                out -= isinstance(event, _Ended)
                if not events and not isinstance(event, _Ring):
                    end = time.monotonic() + LINGER_S
                if out == 0:
                    end = 0.0
                events.append(event)
        return events
