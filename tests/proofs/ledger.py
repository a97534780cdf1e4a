"""What a delivery must be after each thing that can happen to it: the promise, without any SQL.

Things that happen at once have happened in some order. So a history is right if the row that it has left is
the one that some order of the same steps leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import assert_never

from worker.core.schedule import retry_wait
from worker.db.deliveries import State
from worker.replay import What

WAITS = (timedelta(seconds=5), timedelta(seconds=30))  # after the first and the second attempt


class Answer(Enum):
    """What a receiver says."""

    TAKEN = auto()  # 2xx
    TROUBLE = auto()  # 500: the schedule, then given up
    GONE = auto()  # 410
    DEAD = auto()  # connection refused: the schedule, and it counts against the origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A delivery as it must stand in its table; `posts` are the numbers of its attempt rows in order."""

    origin: str
    due_at: datetime
    state: State = State.PENDING
    claims: int = 0
    attempts: int = 0
    leased_until: datetime | None = None
    posts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A claim took it under this token."""

    claims: int
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An answer to the POST of this token was recorded."""

    claims: int
    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent:
    """An operator asked for it again and was told this; None: it was not there any more."""

    said: What | None


@dataclass(frozen=True, slots=True)
class Recovered:
    """An operator made all that was discarded due."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What ended long ago was deleted. `old`: this one's task did."""

    old: bool


Step = Claimed | Recorded | Resent | Recovered | Pruned


class Impossible(Exception):
    """This step may not follow on that row."""


def ends(row: Row | None, steps: Sequence[Step], *, now: datetime) -> list[Row | None]:
    """Return what the orders of `steps` that are allowed make of `row`; empty when none is.

    Orders that have come to the same row with the same steps left go on as one: nine steps have 362,880.
    """
    reached = {(frozenset(range(len(steps))), row)}
    for _ in steps:
        before, reached = reached, set()
        for left, current in before:
            for index in left:
                with suppress(Impossible):
                    reached.add((left - {index}, after(current, steps[index], now=now)))
    return [end for _, end in reached]


def after(row: Row | None, step: Step, *, now: datetime) -> Row | None:
    """Return what `step` makes of `row`; None is a row that was deleted."""
    if row is None:
        if isinstance(step, Claimed) or (isinstance(step, Resent) and step.said is not None):
            raise Impossible
        return None
    match step:
        case Claimed():
            return _claimed(row, step, now=now)
        case Recorded():
            return _recorded(row, step, now=now)
        case Resent(said=said):
            return _resent(row, said=said, now=now)
        case Recovered():
            return _pending(row, now=now) if row.state is State.DISCARDED else row
        case Pruned(old=old):
            return None if old and row.state is not State.PENDING else row
        case _:
            assert_never(step)


def _claimed(row: Row, step: Claimed, *, now: datetime) -> Row:
    leased = row.leased_until is not None and row.leased_until > now
    if row.state is not State.PENDING or leased or row.due_at > now or step.claims != row.claims + 1:
        raise Impossible
    return replace(row, claims=step.claims, leased_until=step.until, due_at=step.until)


def _recorded(row: Row, step: Recorded, *, now: datetime) -> Row:
    logged = replace(row, attempts=row.attempts + 1, posts=tuple(sorted((*row.posts, step.claims))))
    on_time = row.state is State.PENDING and row.claims == step.claims
    if step.answer is Answer.TAKEN:
        delivered = replace(logged, state=State.DELIVERED, leased_until=None)
        return logged if row.state is State.DELIVERED else delivered
    if not on_time:
        return logged
    if step.answer is Answer.GONE or logged.attempts > len(WAITS):
        return replace(logged, state=State.DISCARDED, leased_until=None)
    return replace(logged, leased_until=None, due_at=now + retry_wait(WAITS[row.attempts], jitter=0))


def _resent(row: Row, *, said: What | None, now: datetime) -> Row:
    leased = row.leased_until is not None and row.leased_until > now
    if said is not (What.IN_FLIGHT if leased else What.DUE_NOW):
        raise Impossible
    return row if leased else _pending(row, now=now)


def _pending(row: Row, *, now: datetime) -> Row:
    attempts = row.attempts if row.state is State.PENDING else 0
    return replace(row, state=State.PENDING, attempts=attempts, leased_until=None, due_at=now)
