"""What a receiver's answer means for its delivery.

| answer                                                | meaning   | next                                  |
| ----------------------------------------------------- | --------- | ------------------------------------- |
| 2xx                                                   | delivered | done                                  |
| 410                                                   | gone      | discarded at once                     |
| 408, 425, 429, 5xx, no status line                    | transient | the retry schedule, then discarded    |
| every other status                                    | suspect   | 1 min, 10 min, 1 h, then discarded    |
| forbidden address, bad URL                            | permanent | discarded at once                     |

The count of recorded attempts alone picks the step, so a delivery that had five transient failures and then
meets a 404 is discarded: it has had its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from worker.core.schedule import SUSPECT_SCHEDULE, parse_retry_after, retry_wait

LONGEST_RETRY_AFTER = timedelta(hours=12)
_DELIVERED = range(200, 300)
_GONE = 410
_TRANSIENT = frozenset({408, 425, 429, *range(500, 600)})
_HEEDS_RETRY_AFTER = frozenset({429, 503})


class PostError(StrEnum):
    """Why a POST brought no status line: closed words, kept in the attempt log."""

    DNS = "dns_error"
    REFUSED = "connection_refused"
    RESET = "connection_reset"
    CONNECT_TIMEOUT = "connect_timeout"
    READ_TIMEOUT = "read_timeout"
    DEADLINE = "deadline"
    TLS = "tls_error"
    PROTOCOL = "protocol_error"
    BLOCKED_ADDRESS = "blocked_address"
    INVALID_URL = "invalid_url"
    INTERNAL = "internal_error"


_PERMANENT = frozenset({PostError.BLOCKED_ADDRESS, PostError.INVALID_URL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The receiver's status line came in time."""

    status_code: int
    retry_after: str | None
    excerpt: str  # start of its answer, at most 4 KiB, printable text


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No status line came. `detail` is safe to show: it names no internal address."""

    error: PostError
    detail: str


PostOutcome = Answered | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Try again, not before `at`."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """Given up; `reason` is one line for the operator."""

    reason: str


Verdict = Delivered | Retry | Discarded


def is_delivered(outcome: PostOutcome) -> bool:
    """Say whether the receiver took it: any 2xx."""
    return isinstance(outcome, Answered) and outcome.status_code in _DELIVERED


def is_transient(outcome: PostOutcome) -> bool:
    """Say whether it may heal by itself and gets the full schedule: 408, 425, 429, 5xx, no answer at all."""
    match outcome:
        case Answered(status_code=code):
            return code in _TRANSIENT
        case Failed(error=error):
            return error not in _PERMANENT
        case _:
            assert_never(outcome)


def judge(
    outcome: PostOutcome,
    *,
    attempt_count: int,
    retry_schedule: tuple[timedelta, ...],
    now: datetime,
    jitter: float,
) -> Verdict:
    """Return what follows from `outcome`; `attempt_count` counts attempts recorded, this one included.

    `jitter` is drawn by the caller from [0, 1). Retry-After on 429 and 503 holds the delivery: the later of
    it and the schedule counts, and at most 12 h of it.
    """
    match outcome:
        case Answered(status_code=code) if code in _DELIVERED:
            return Delivered()
        case Answered(status_code=code) if code == _GONE:
            return Discarded(reason="HTTP 410: the receiver wants no more of it")
        case Answered(status_code=code):
            schedule = retry_schedule if code in _TRANSIENT else SUSPECT_SCHEDULE
            what = f"HTTP {code}"
        case Failed(error=error) if error in _PERMANENT:
            return Discarded(reason=f"{outcome.error}: {outcome.detail}")
        case Failed():
            schedule = retry_schedule
            what = f"{outcome.error}: {outcome.detail}"
        case _:
            assert_never(outcome)
    if attempt_count > len(schedule):
        return Discarded(reason=f"given up after {attempt_count} attempts, the last: {what}")
    wait = retry_wait(schedule[attempt_count - 1], jitter=jitter)
    return Retry(at=now + max(wait, _held(outcome, now=now)))


def _held(outcome: PostOutcome, *, now: datetime) -> timedelta:
    """Return how long the receiver asked us to wait, at most 12 h."""
    if not isinstance(outcome, Answered) or outcome.status_code not in _HEEDS_RETRY_AFTER:
        return timedelta(0)
    return min(parse_retry_after(outcome.retry_after, now=now) or timedelta(0), LONGEST_RETRY_AFTER)
