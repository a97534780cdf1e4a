"""What `status --watch` adds to one look: how fast things move, and which receivers need an eye.

A rate is the difference of two counts, over at most the last 30 s that were watched. Rows that are pruned in
between make it smaller, never less than zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from worker.cli.terminal import Section, at
from worker.core.lifecycle import TERMINAL
from worker.core.origins import Breaker
from worker.db.deliveries import State
from worker.db.origin_overview import Receiver
from worker.db.overview import Overview

WINDOW = timedelta(seconds=30)
RECEIVERS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What only grows while nothing is pruned, at one moment."""

    at: datetime
    watched: int
    finished: int
    delivered: int
    discarded: int


class Watch:
    """The looks of the last 30 s."""

    def __init__(self) -> None:
        self._looks: deque[Counts] = deque()

    def rates(self, overview: Overview, *, now: datetime) -> Section:
        """Take in one more look; return how many a second there were since the oldest one in the window."""
        latest = Counts(
            at=now,
            watched=sum(overview.tasks.values()),
            finished=sum(overview.tasks[status] for status in TERMINAL),
            delivered=overview.deliveries[State.DELIVERED],
            discarded=overview.deliveries[State.DISCARDED],
        )
        self._looks.append(latest)
        while now - self._looks[0].at > WINDOW:
            self._looks.popleft()
        first = self._looks[0]
        seconds = (now - first.at).total_seconds()
        rows = [
            (word, _per_second(getattr(latest, what) - getattr(first, what), seconds=seconds))
            for word, what in (
                ("put under watch", "watched"),
                ("finished", "finished"),
                ("delivered", "delivered"),
                ("discarded", "discarded"),
            )
        ]
        columns = (f"in {round(seconds)} s", "a second")
        return Section(title="Rates", columns=columns, rows=rows)


def receivers_section(receivers: Sequence[Receiver]) -> Section:
    """Return the first few receivers that are in trouble or have work."""
    shown = [one for one in receivers if one.pending or one.breaker is not Breaker.CLOSED][:RECEIVERS_SHOWN]
    rows = [
        (one.origin, one.pending, f"{one.in_flight} of {one.health.concurrency}", _breaker(one))
        for one in shown
    ]
    columns = ("origin", "pending", "in flight", "breaker")
    alarming = [one.origin for one in shown if one.breaker is Breaker.OPEN]
    return Section(title="Receivers", columns=columns, rows=rows, alarming=alarming)


def _breaker(one: Receiver) -> str:
    return f"open until {at(one.health.open_until)}" if one.breaker is Breaker.OPEN else one.breaker


def _per_second(number: int, *, seconds: float) -> str:
    return f"{max(number, 0) / seconds:.1f}" if seconds else "-"
