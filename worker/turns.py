"""Claim deliveries: origins take turns, each within its own limit over all workers.

A claim looks at the origins that have waited longest, takes their rows, counts what they have in flight and
shares the free slots between them. An origin that got its turn waits behind those that did not. One at its
limit sleeps until a record frees a slot, or the first of its leases ends; one behind its breaker sleeps until a
probe is due. So a claim costs what it takes, not what waits: a hundred thousand deliveries of one origin are one
row here.

Of each origin's share a third goes to results that were never tried, so that a backlog of retries does not
starve them; the rest goes to the longest due.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from worker.core.origins import OriginHealth, capacity, next_claim_at, share
from worker.db import deliveries, origins
from worker.db.clock import read_now
from worker.db.deliveries import Claim, Lease
from worker.db.origins import InFlight
from worker.stream import Claimed

ORIGINS = 32  # of one claim
LARGEST_CLAIM = 200  # deliveries of one claim: a transaction of milliseconds on either database
FIRST_SHARE = 1 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a claim keeps to: its lease, the most in flight per origin, and chance as an argument.

    `chance` is drawn from [0, 1) for each claim; it decides how a share of one slot is split in thirds.
    """

    lease: timedelta
    most: int
    chance: float


def claim_deliveries(session: Session, *, free: int, terms: Terms) -> Claimed[Lease]:
    """Take at most `free` due deliveries and set when their origins are looked at next."""
    now = read_now(session)
    waiting = origins.due(session, limit=ORIGINS + 1, now=now)
    chosen = waiting[:ORIGINS]
    if not chosen:
        return Claimed(items=[], more=False)
    health = origins.lock(session, origins=chosen)
    busy = origins.in_flight(session, origins=health, now=now)
    grants = _grants(chosen, health=health, busy=busy, free=min(free, LARGEST_CLAIM), terms=terms, now=now)
    claims = _take(session, grants=grants, terms=terms, now=now)
    held_back = _reschedule(session, health=health, busy=busy, claims=claims, terms=terms, now=now)
    left = len(waiting) > ORIGINS or held_back
    leases = deliveries.read(session, claims=claims, now=now, until=now + terms.lease) if claims else []
    return Claimed(items=leases, more=left)


def _grants(
    chosen: list[str],
    *,
    health: Mapping[str, OriginHealth],
    busy: Mapping[str, InFlight],
    free: int,
    terms: Terms,
    now: datetime,
) -> dict[str, int]:
    """Share the slots in the order in which the origins waited; an origin pruned meanwhile gets none."""
    names = [origin for origin in chosen if origin in health]
    wants = [capacity(health[name], most=terms.most, now=now) - busy[name].count for name in names]
    return dict(zip(names, share(free, wants), strict=True))


def _take(session: Session, *, grants: Mapping[str, int], terms: Terms, now: datetime) -> list[Claim]:
    until = now + terms.lease
    shares = {name: min(grant, int(grant * FIRST_SHARE + terms.chance)) for name, grant in grants.items()}
    first = deliveries.claim(session, grants=shares, first_only=True, until=until, now=now)
    taken = _by_origin(first)
    rest = {name: grant - taken.get(name, 0) for name, grant in grants.items()}
    return first + deliveries.claim(session, grants=rest, first_only=False, until=until, now=now)


def _reschedule(
    session: Session,
    *,
    health: Mapping[str, OriginHealth],
    busy: Mapping[str, InFlight],
    claims: list[Claim],
    terms: Terms,
    now: datetime,
) -> bool:
    """Set when each origin is looked at next; say whether one has more that is due and may be sent."""
    taken = _by_origin(claims)
    first_due = origins.next_due(session, origins=health)
    after: dict[str, datetime | None] = {}
    held_back = False
    for name, one in health.items():
        due, limit = first_due[name], capacity(one, most=terms.most, now=now)
        after[name] = next_claim_at(one, due=due, now=now)
        if due is not None and due <= now and limit > 0:
            held_back = True
            if busy[name].count + taken.get(name, 0) >= limit:
                after[name] = busy[name].first_end or now + terms.lease
    origins.reschedule(session, at=after)
    return held_back


def _by_origin(claims: list[Claim]) -> dict[str, int]:
    counted: dict[str, int] = {}
    for claim in claims:
        counted[claim.origin] = counted.get(claim.origin, 0) + 1
    return counted
