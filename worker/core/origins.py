"""How much a receiving host may be asked at once, and when it is left in peace.

An *origin* is a scheme, host and port; all hooks behind it share its fate. Two rules, both fed by the
outcomes of POSTs in the order in which they are recorded:

* The *limit* of POSTs in flight grows by 1 with each delivery and is halved by each transient failure but
  one of our own, between 1 and the configured most: a healthy receiver gets its full speed, a dying one is
  left in peace.
* The *breaker* opens after 5 outcomes in a row that speak of the host itself: no DNS, no connection, no TLS,
  no answer in time, 429 or 502-504. It stays open for 30 s, doubling with each failed probe to 15 min; then
  one POST at a time probes, and any other answer closes it. A 500 or 404 is an answer of one path at a shared
  host and holds nobody else up; a connection that breaks off half-way says nothing either way.

A third one keeps hosts apart: none is raised far above its part of the slots while others want some. Within
a process, a receiver that took nothing within 2 s gets at most 16 slots, and a quarter of all slots is kept
for receivers whose last word was an answer.

Nothing is lost or counted while a delivery waits behind an open breaker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

from worker.core.verdicts import Answered, Failed, PostError, PostOutcome, is_delivered, is_transient

FIRST_LIMIT = 4
COLD_LIMIT = 16
WARM_FOR = timedelta(seconds=2)
FAILURES_TO_OPEN = 5
FIRST_OPENING = timedelta(seconds=30)
LONGEST_OPENING = timedelta(minutes=15)
# An even part alone would be too strict: receivers answer in bursts, and one that was held to its part would
# have connections closed and opened anew with each of them.
MOST_OF_EVEN_PART = 1.5

_HOST_STATUSES = frozenset({429, 502, 503, 504})
_HOST_ERRORS = frozenset(
    {
        PostError.DNS,
        PostError.REFUSED,
        PostError.CONNECT_TIMEOUT,
        PostError.READ_TIMEOUT,
        PostError.DEADLINE,
        PostError.TLS,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginHealth:
    """What all workers know of an origin."""

    concurrency: int = FIRST_LIMIT  # POSTs in flight over all workers
    failures: int = 0  # of the host, in a row
    openings: int = 0  # of the breaker, in a row; not 0 means that it is open or probing
    open_until: datetime | None = None
    delivered_at: datetime | None = None  # the last 2xx


class Breaker(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"  # nothing is claimed
    PROBING = "probing"  # one POST at a time, until an answer closes it or a failure opens it again


def breaker(health: OriginHealth, *, now: datetime) -> Breaker:
    """Return where the breaker stands at `now`."""
    if health.open_until is not None and health.open_until > now:
        return Breaker.OPEN
    return Breaker.PROBING if health.openings else Breaker.CLOSED


def capacity(health: OriginHealth, *, most: int, now: datetime) -> int:
    """Return how many POSTs may be in flight at `now`: none while open, one while probing."""
    match breaker(health, now=now):
        case Breaker.OPEN:
            return 0
        case Breaker.PROBING:
            return 1
        case Breaker.CLOSED:
            return min(health.concurrency, most if is_warm(health, now=now) else min(most, COLD_LIMIT))
        case odd:
            assert_never(odd)


def is_warm(health: OriginHealth, *, now: datetime) -> bool:
    """Say whether it took something within the last 2 s: only then it gets its whole limit at once.

    A receiver that begins to hang so takes part in two seconds' claims, and not in all those until its first
    request has run into its timeout. One that was idle has its whole limit from its first delivery on.
    """
    return health.delivered_at is not None and health.delivered_at + WARM_FOR > now


def is_proven(health: OriginHealth) -> bool:
    """Say whether its last word was no failure of its host, and it ever took something.

    A part of each process's slots is kept for these, so any number of new or dead hosts leaves them room.
    """
    return health.delivered_at is not None and health.failures == 0


def after(health: OriginHealth, outcome: PostOutcome, *, most: int, now: datetime) -> OriginHealth:
    """Return the origin's health after `outcome`, which was recorded at `now`."""
    concurrency = _limit(health.concurrency, outcome, most=most)
    delivered_at = now if is_delivered(outcome) else health.delivered_at
    if isinstance(outcome, Answered) and not _speaks_of_host(outcome):
        # All that is not named here begins anew: an answer of a path clears what is held against its host.
        return OriginHealth(concurrency=concurrency, delivered_at=delivered_at)
    limited = replace(health, concurrency=concurrency, delivered_at=delivered_at)
    state = breaker(health, now=now)
    if not _speaks_of_host(outcome) and state is not Breaker.PROBING:
        return limited  # a probe that brought no answer has not shown that the host is back
    if state is Breaker.OPEN:
        return limited  # in flight when it opened: they all say the same
    failures = min(health.failures + 1, FAILURES_TO_OPEN)
    if failures < FAILURES_TO_OPEN:
        return replace(limited, failures=failures)
    # The exponent is bounded before the power is: a host may stay dead for years.
    wait = min(FIRST_OPENING * 2 ** min(health.openings, 10), LONGEST_OPENING)
    return replace(limited, failures=failures, openings=health.openings + 1, open_until=now + wait)


def next_claim_at(health: OriginHealth, *, due: datetime | None, now: datetime) -> datetime | None:
    """Return when a claim should look at the origin whose first delivery is `due`; None when it has none.

    Never in the past: an origin that had its turn waits behind those that did not.
    """
    if due is None:
        return None
    return max(due, now) if health.open_until is None else max(due, now, health.open_until)


def most_to_hold(free: int, wants: Sequence[int], *, held: Sequence[int]) -> int:
    """Return how many slots an origin may hold while others want some: half more than its even part, or 4.

    A receiver that gives none back would otherwise gather them, one at a time, up to its limit.
    """
    hungry = sum(want > 0 for want in wants)
    return max(FIRST_LIMIT, math.ceil(MOST_OF_EVEN_PART * (free + sum(held)) / max(1, hungry)))


def share(free: int, wants: Sequence[int], *, room: Sequence[int]) -> list[int]:
    """Split `free` slots between origins that could use `wants`; beyond its `room`, what nobody else wants.

    All get one before any gets two, and so on; when slots run out in a round, the first ones get theirs.
    Nobody gets more than it wants, and `sum(share(…)) == min(free, sum(wants))`.
    """
    useful = [max(0, want) for want in wants]
    fair = _split(free, [max(0, min(pair)) for pair in zip(useful, room, strict=True)])
    rest = _split(free - sum(fair), [want - grant for want, grant in zip(useful, fair, strict=True)])
    return [grant + more for grant, more in zip(fair, rest, strict=True)]


def _split(free: int, wants: Sequence[int]) -> list[int]:
    """Split evenly, in rounds."""
    grants = [0] * len(wants)
    hungry = [index for index, want in enumerate(wants) if want > 0]
    while free > 0 and hungry:
        portion = max(1, free // len(hungry))
        for index in hungry:
            granted = min(portion, wants[index] - grants[index], free)
            grants[index] += granted
            free -= granted
        hungry = [index for index in hungry if grants[index] < wants[index]]
    return grants


def _limit(concurrency: int, outcome: PostOutcome, *, most: int) -> int:
    if is_delivered(outcome):
        return min(concurrency + 1, most)
    if isinstance(outcome, Failed) and outcome.error is PostError.INTERNAL:
        return concurrency  # what this process lacks says nothing of the receiver
    return max(1, min(concurrency, most) // 2) if is_transient(outcome) else concurrency


def _speaks_of_host(outcome: PostOutcome) -> bool:
    match outcome:
        case Answered(status_code=code):
            return code in _HOST_STATUSES
        case Failed(error=error):
            return error in _HOST_ERRORS
