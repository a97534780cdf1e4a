"""Claim deliveries: origins take turns, each within its own limit over all workers.

A claim looks at the origins that have waited longest, takes their rows, counts what they have in flight and
shares the free slots between them. An origin that got its turn, or has far more than its part in flight,
waits behind those that did not. One at its limit sleeps until a record frees a slot, or the first of its
leases ends; one behind its breaker sleeps until a probe is due. So a claim costs what it takes, not what
waits: a hundred thousand deliveries of one origin are one row here.

A third of the claims serves results that were never tried first, so that a backlog of retries does not starve
them; the others serve the longest due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from worker.core.origins import OriginHealth, capacity, is_proven, most_to_hold, next_claim_at, share
from worker.db import origins
from worker.db.clock import read_now
from worker.db.deliveries import Lease
from worker.db.delivery_claims import claim
from worker.db.origins import InFlight
from worker.looks import Claimed

ORIGINS = 32  # of one claim
LARGEST_CLAIM = 200  # deliveries of one claim: a transaction of milliseconds on either database
FIRST_SHARE = 1 / 3  # of the claims


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a claim keeps to: its lease, the most in flight per origin, slots kept for proven origins, chance.

    `chance` is drawn from [0, 1) for each claim; below a third, it serves first attempts first.
    """

    lease: timedelta
    most: int
    reserve: int
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a claim left of what is due, of origins that may be asked."""

    held_back: Mapping[str, bool]  # by origin: whether it was left since all it may have is in flight
    for_want_of_slots: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One origin in one claim: what it may have in flight, what it has, and what it is granted now.

    `part` is what it may have while others want some.
    """

    health: OriginHealth
    limit: int
    busy: InFlight
    granted: int
    part: int


def claim_deliveries(session: Session, *, free: int, terms: Terms) -> Claimed[Lease]:
    """Take at most `free` due deliveries and set when their origins are looked at next."""
    now = read_now(session)
    # Only the reserve is left: those that may not use it would fill the claim and hide who may.
    proven_only = free <= terms.reserve
    waiting = origins.take_due(session, limit=ORIGINS, proven_only=proven_only, now=now)
    turns = _turns(session, waiting=waiting, free=free, terms=terms, now=now)
    if not turns:
        return Claimed(items=[], more=proven_only, leaves_some=proven_only)
    leases = _take(session, turns=turns, terms=terms, now=now)
    left = _reschedule(session, turns=turns, leases=leases, terms=terms, now=now)
    looked_at_all = len(waiting) < ORIGINS
    more = proven_only or not looked_at_all or left.for_want_of_slots
    return Claimed(items=leases, more=more, held_back=left.held_back, leaves_some=more)


def _turns(
    session: Session, *, waiting: Mapping[str, OriginHealth], free: int, terms: Terms, now: datetime
) -> dict[str, Turn]:
    """Share the slots between locked origins in the order in which they waited."""
    if not waiting:
        return {}
    busy = origins.in_flight(session, origins=waiting, now=now)
    held = [busy[name].count for name in waiting]
    limits = [capacity(health, most=terms.most, now=now) for health in waiting.values()]
    wants = [limit - has for limit, has in zip(limits, held, strict=True)]
    part = most_to_hold(free, wants, held=held)
    grants = _share(
        wants,
        room=[part - has for has in held],
        proven=[is_proven(health) for health in waiting.values()],
        free=free,
        reserve=terms.reserve,
    )
    return {
        name: Turn(health=waiting[name], limit=limit, busy=busy[name], granted=grant, part=part)
        for name, limit, grant in zip(waiting, limits, grants, strict=True)
    }


def _share(
    wants: Sequence[int], *, room: Sequence[int], proven: Sequence[bool], free: int, reserve: int
) -> list[int]:
    """Share `free` slots evenly; of a process's last slots, the reserve, only proven origins get any."""
    slots = min(free, LARGEST_CLAIM)
    granted = share(slots, wants, room=room)
    open_to_others = max(0, free - reserve)
    if sum(grant for grant, is_one in zip(granted, proven, strict=True) if not is_one) <= open_to_others:
        return granted
    of_others = [0 if is_one else want for want, is_one in zip(wants, proven, strict=True)]
    of_proven = [want if is_one else 0 for want, is_one in zip(wants, proven, strict=True)]
    others = share(min(slots, open_to_others), of_others, room=room)
    rest = share(slots - sum(others), of_proven, room=room)
    return [one + other for one, other in zip(others, rest, strict=True)]


def _take(session: Session, *, turns: Mapping[str, Turn], terms: Terms, now: datetime) -> list[Lease]:
    until = now + terms.lease
    grants = {name: turn.granted for name, turn in turns.items()}
    if terms.chance >= FIRST_SHARE:
        return claim(session, grants=grants, first_only=False, until=until, now=now)
    first = claim(session, grants=grants, first_only=True, until=until, now=now)
    taken = Counter(one.origin for one in first)
    rest = {name: granted - taken[name] for name, granted in grants.items()}
    return first + claim(session, grants=rest, first_only=False, until=until, now=now)


def _is_filled(turn: Turn, *, taken: int) -> bool:
    """Say whether this claim has filled an origin to its limit: it will sleep, whatever else is due."""
    return turn.granted > 0 and turn.busy.count + taken >= turn.limit


def _reschedule(
    session: Session, *, turns: Mapping[str, Turn], leases: Sequence[Lease], terms: Terms, now: datetime
) -> Left:
    """Set when each origin is looked at next; say of which something was left."""
    taken = Counter(one.origin for one in leases)
    filled = {name for name, turn in turns.items() if _is_filled(turn, taken=taken[name])}
    first_due = dict.fromkeys(filled, now) | origins.next_due(session, origins=turns.keys() - filled)
    at: dict[str, datetime | None] = {}
    held_back: dict[str, bool] = {}
    for_want_of_slots = False
    for name, turn in turns.items():
        due = first_due[name]
        more = due is not None and due <= now and turn.limit > 0
        at_limit = turn.busy.count + taken[name] >= turn.limit
        held_back[name] = more and at_limit
        for_want_of_slots = for_want_of_slots or (more and not at_limit)
        if held_back[name]:
            at[name] = turn.busy.first_end or now + terms.lease  # a record that frees a slot comes before
        elif turn.granted or turn.busy.count >= turn.part or not more:
            at[name] = next_claim_at(turn.health, due=due, now=now)
        # else: no slot was left for it, so it keeps its place in the line.
    origins.reschedule(session, at=at)
    return Left(held_back=held_back, for_want_of_slots=for_want_of_slots)
