"""When to ask a gateway, and when to try a receiver again: plain arithmetic.

Jitter only ever adds: nothing comes earlier than its schedule says. It is drawn by the caller from [0, 1).

>>> retry_wait(timedelta(seconds=30), jitter=0.5)
datetime.timedelta(seconds=33)
>>> poll_interval(age=timedelta(minutes=5), interval=timedelta(seconds=10))
datetime.timedelta(seconds=20)
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from worker.core.lifecycle import Action
from worker.core.wire import Trouble

# 11 attempts in 46 h 42 min 35 s and jitter: a receiver that is down for a day still gets its results.
DEFAULT_RETRY_SCHEDULE: tuple[timedelta, ...] = (
    timedelta(seconds=5),
    timedelta(seconds=30),
    timedelta(minutes=2),
    timedelta(minutes=10),
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=3),
    timedelta(hours=6),
    timedelta(hours=12),
    timedelta(hours=24),
)
# For answers that rarely heal by themselves (redirects, most 4xx): time to notice a bad deployment, no more.
SUSPECT_SCHEDULE: tuple[timedelta, ...] = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))

_SHORTEST_SPREAD = timedelta(seconds=1)
_LONGEST_SPREAD = timedelta(minutes=15)

# Age below which the interval is multiplied so; a song takes 1 to 4 minutes, an old one is stuck or queued.
_CADENCE = ((timedelta(minutes=2), 1), (timedelta(minutes=10), 2), (timedelta(hours=1), 6))
_OLDEST_FACTOR = 30
_POLL_JITTER = 0.1
_LYRICS_DELAY = timedelta(seconds=1)

_LONGEST_COOLDOWN = timedelta(minutes=5)
_SHORTEST_UNAUTHORIZED = timedelta(
    minutes=1
)  # a key heals by a person's hand, so asking faster learns nothing
_LONGEST_UNAUTHORIZED = timedelta(minutes=15)
_LONGEST_RETRY_AFTER = timedelta(minutes=15)
_MOST_DOUBLINGS = 20  # far beyond any cap, and far below an overflow
_COOLDOWN_JITTER = 0.2

_SECONDS = re.compile(r"[0-9]{1,9}")


def retry_wait(base: timedelta, *, jitter: float) -> timedelta:
    """Return `base` + jitter * min(max(0.2 * base, 1 s), 15 min)."""
    return base + jitter * min(max(0.2 * base, _SHORTEST_SPREAD), _LONGEST_SPREAD)


def poll_interval(*, age: timedelta, interval: timedelta) -> timedelta:
    """Return how long a poll batch of this age waits between two polls, without jitter.

    The interval itself below 2 minutes, twice below 10, six times below an hour, thirty times after.
    """
    return interval * next((factor for below, factor in _CADENCE if age < below), _OLDEST_FACTOR)


def cadence(*, interval: timedelta) -> list[tuple[timedelta, timedelta]]:
    """Return the steps of `poll_interval`: (age below which, interval); the last holds for every age."""
    steps = [(below, interval * factor) for below, factor in _CADENCE]
    return [*steps, (timedelta.max, interval * _OLDEST_FACTOR)]


def next_poll_wait(*, age: timedelta, interval: timedelta, jitter: float) -> timedelta:
    """Return `poll_interval` plus 0 to 10 %."""
    return poll_interval(age=age, interval=interval) * (1 + _POLL_JITTER * jitter)


def refused_poll_wait(*, interval: timedelta, jitter: float) -> timedelta:
    """Return the wait of an id that the gateway refuses: that of the oldest batches, whatever its age."""
    return next_poll_wait(age=timedelta.max, interval=interval, jitter=jitter)


def first_poll_delay(*, action: Action, first_poll_delay: timedelta) -> timedelta:
    """Return the wait before the first poll: at most 1 s for lyrics, often done when they are enqueued."""
    return min(first_poll_delay, _LYRICS_DELAY) if action is Action.LYRICS else first_poll_delay


def parse_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """Return the wait that a Retry-After header asks for: whole seconds or an HTTP date.

    None for a missing header, for anything else in it, and for a date that has passed.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=int(text))
    try:
        at = parsedate_to_datetime(text)
        wait = (at if at.tzinfo else at.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return wait if wait >= timedelta(0) else None


def cooldown(
    *,
    trouble: Trouble,
    failures: int,
    base: timedelta,
    retry_after: timedelta | None,
    jitter: float,
) -> timedelta:
    """Return how long a gateway is left in peace after its `failures`-th consecutive bad answer (1, 2, …).

    `base` doubles up to 5 minutes; for a refused key it doubles from at least 60 s up to 15 minutes. A
    `base` beyond the cap is kept. Jitter adds up to 20 %. A Retry-After holds longer where it asks for
    more, up to 15 minutes.
    """
    first, longest = base, _LONGEST_COOLDOWN
    if trouble is Trouble.UNAUTHORIZED:
        first, longest = max(base, _SHORTEST_UNAUTHORIZED), _LONGEST_UNAUTHORIZED
    doubled: timedelta = first * 2 ** min(max(failures - 1, 0), _MOST_DOUBLINGS)
    wait = min(doubled, max(longest, first)) * (1 + _COOLDOWN_JITTER * jitter)
    return max(wait, min(retry_after or timedelta(0), _LONGEST_RETRY_AFTER))
