"""Reads for people and dashboards about the hosts that receive webhooks: who is in trouble, what waits.

Nothing here is on a hot path, and nothing is locked: the workers may have gone on while it is shown. What is
returned are plain values that outlive the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from worker.core.origins import Breaker, OriginHealth, breaker
from worker.db import origins
from worker.db.deliveries import State
from worker.db.models import Delivery, Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One origin, and what all workers have to do with it."""

    origin: str
    health: OriginHealth
    breaker: Breaker
    in_flight: int
    pending: int  # deliveries, those in flight among them
    next_claim_at: datetime | None  # None: nothing is PENDING
    last_used_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The breaker that holds a delivery back. `open_until` is over when it is probing."""

    origin: str
    breaker: Breaker
    open_until: datetime | None


def read_receivers(session: Session, *, limit: int, now: datetime) -> tuple[Receiver, ...]:
    """Return at most `limit` origins, trouble first: not closed, then failing, then with work, then idle."""
    rows = session.scalars(
        select(Origin)
        .order_by(
            Origin.openings.desc(),
            Origin.failures.desc(),
            Origin.next_claim_at.is_(None),
            Origin.last_used_at.desc(),
            Origin.origin,
        )
        .limit(limit)
    ).all()
    names = [row.origin for row in rows]
    busy = origins.in_flight(session, origins=names, now=now)
    pending = _pending(session, origins=names)
    return tuple(
        Receiver(
            origin=row.origin,
            health=_health(row),
            breaker=breaker(_health(row), now=now),
            in_flight=busy[row.origin].count,
            pending=pending.get(row.origin, 0),
            next_claim_at=row.next_claim_at,
            last_used_at=row.last_used_at,
        )
        for row in rows
    )


def count_origins(session: Session) -> int:
    """Return how many origins there are."""
    return session.scalar(select(func.count()).select_from(Origin)) or 0


def count_not_closed(session: Session, *, now: datetime) -> int:
    """Return how many breakers are open, or probe while deliveries wait for them.

    One that nobody sends to any more counts only until its time is over: no probe will ever close it.
    """
    trouble = or_(Origin.open_until > now, and_(Origin.openings > 0, Origin.next_claim_at.is_not(None)))
    return session.scalar(select(func.count()).select_from(Origin).where(trouble)) or 0


def read_waits(session: Session, *, delivery_ids: Sequence[str], now: datetime) -> dict[str, Wait]:
    """Return the breaker that each PENDING delivery waits behind; those that wait for nobody are not in it.

    One that is being sent, the probe, does not wait; nor does one whose own retry comes after the breaker's
    time.
    """
    rows = session.execute(
        select(Delivery.id, Delivery.next_attempt_at, Origin)
        .join(Origin, Origin.origin == Delivery.origin)
        .where(
            Delivery.id.in_(delivery_ids),
            Delivery.state == State.PENDING.value,
            or_(Delivery.leased_until.is_(None), Delivery.leased_until <= now),
        )
    )
    waits: dict[str, Wait] = {}
    for delivery_id, due, row in rows:
        stands = breaker(_health(row), now=now)
        until = now if row.open_until is None else max(now, row.open_until)
        if stands is not Breaker.CLOSED and due <= until:
            waits[delivery_id] = Wait(origin=row.origin, breaker=stands, open_until=row.open_until)
    return waits


def _pending(session: Session, *, origins: Sequence[str]) -> dict[str, int]:
    rows = session.execute(
        select(Delivery.origin, func.count().label("number"))
        .where(Delivery.origin.in_(origins), Delivery.state == State.PENDING.value)
        .group_by(Delivery.origin)
    )
    return {row.origin: row.number for row in rows}


def _health(row: Origin) -> OriginHealth:
    return OriginHealth(
        concurrency=row.concurrency,
        failures=row.failures,
        openings=row.openings,
        open_until=row.open_until,
    )
