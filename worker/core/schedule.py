"""When to ask a gateway, and when to try a receiver again: plain arithmetic."""

from __future__ import annotations

from datetime import datetime, timedelta

from worker.core.lifecycle import Action
from worker.core.wire import Trouble

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
SUSPECT_SCHEDULE: tuple[timedelta, ...] = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))


def retry_wait(base: timedelta, *, jitter: float) -> timedelta:
    """Return `base` + jitter * min(max(0.2 * base, 1 s), 15 min); `jitter` is from [0, 1)."""
    raise NotImplementedError


def poll_interval(*, age: timedelta, interval: timedelta) -> timedelta:
    """Return how long a poll batch of this age waits between two polls, without jitter."""
    raise NotImplementedError


def next_poll_wait(*, age: timedelta, interval: timedelta, jitter: float) -> timedelta:
    """Return `poll_interval` plus 0 to 10 %."""
    raise NotImplementedError


def first_poll_delay(*, action: Action, first_poll_delay: timedelta) -> timedelta:
    """Return the wait before the first poll; lyrics are done within seconds, so at most 1 s for them."""
    raise NotImplementedError


def parse_retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """Return the wait that a Retry-After header asks for, or None for garbage, negative and past values."""
    raise NotImplementedError


def cooldown(
    *,
    trouble: Trouble,
    failures: int,
    base: timedelta,
    retry_after: timedelta | None,
    jitter: float,
) -> timedelta:
    """Return how long a gateway is left in peace after its `failures`-th consecutive bad answer."""
    raise NotImplementedError
