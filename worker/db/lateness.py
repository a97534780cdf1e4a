"""How late the oldest due work is: one look at an index for each gateway and each receiver that is due.

Only what waits for a worker counts. What waits for a gateway's cool-down, for settings that are gone, or for
a receiver's limit or breaker is late for a reason that more workers would not heal.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ScalarSelect, Select, func, or_, select
from sqlalchemy.orm import Session

from worker.db.deliveries import State
from worker.db.gateways import batch_sizes as known_gateways
from worker.db.models import Delivery, Gateway, Origin, PollBatch


def oldest_due_poll(session: Session, *, now: datetime) -> timedelta:
    """Return how late the oldest due poll batch is; zero when none is due."""
    well = or_(Gateway.cooling_until.is_(None), Gateway.cooling_until <= now)
    first = select(func.min(PollBatch.next_poll_at)).where(PollBatch.gateway == Gateway.name)
    askable = select(_of_each(first)).where(well, Gateway.name.in_(known_gateways(session)))
    return _lateness(session, askable, now=now)


def oldest_due_delivery(session: Session, *, now: datetime) -> timedelta:
    """Return how late the oldest due delivery is; zero when none is due."""
    first = select(func.min(Delivery.next_attempt_at)).where(
        Delivery.origin == Origin.origin, Delivery.state == State.PENDING.value
    )
    return _lateness(session, select(_of_each(first)).where(Origin.next_claim_at <= now), now=now)


def _of_each(first: Select[datetime]) -> ScalarSelect[datetime]:
    return first.correlate(Gateway, Origin).scalar_subquery()


def _lateness(session: Session, firsts: Select[datetime], *, now: datetime) -> timedelta:
    (due,) = firsts.subquery().c
    oldest: datetime | None = session.scalar(select(func.min(due)))
    return timedelta() if oldest is None else max(now - oldest, timedelta())
