"""Statements on `origins`: which of them are due, and what all workers know of each.

Whoever changes an origin's schedule or health holds its row, and takes several rows in the order of their
names. A claim reads what it counts in statements of its own after it has the rows: on PostgreSQL a lock taken
inside the counting statement would come after that statement's snapshot, and limits would be exceeded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from worker.core.origins import OriginHealth
from worker.db.models import Delivery, Origin
from worker.db.statements import table_of, upsert


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """The live leases of one origin."""

    count: int
    first_end: datetime | None  # when the first of them ends by itself


def make_due(session: Session, *, origins: Collection[str], now: datetime) -> None:
    """Let the next claim look at `origins`, which are made when they are new; an open breaker stays open."""
    for origin in sorted(origins):
        statement = upsert(session, Origin).values(origin=origin, next_claim_at=now, last_used_at=now)
        sleeping = or_(Origin.next_claim_at.is_(None), Origin.next_claim_at > now)
        closed = or_(Origin.open_until.is_(None), Origin.open_until <= now)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["origin"],
                set_={"next_claim_at": now, "last_used_at": now},
                where=sleeping & closed,
            )
        )


def due(session: Session, *, limit: int, now: datetime) -> list[str]:
    """Return up to `limit` origins that a claim should look at, those that have waited longest first."""
    return list(
        session.scalars(
            select(Origin.origin)
            .where(Origin.next_claim_at <= now)
            .order_by(Origin.next_claim_at)
            .limit(limit)
        )
    )


def lock(session: Session, *, origins: Collection[str]) -> dict[str, OriginHealth]:
    """Take the rows until the end of the transaction, in the order of their names; return their health."""
    rows = session.execute(
        select(Origin.origin, Origin.concurrency, Origin.failures, Origin.openings, Origin.open_until)
        .where(Origin.origin.in_(list(origins)))
        .order_by(Origin.origin)
        .with_for_update(key_share=True)
    )
    return {
        row.origin: OriginHealth(
            concurrency=row.concurrency,
            failures=row.failures,
            openings=row.openings,
            open_until=row.open_until,
        )
        for row in rows
    }


def in_flight(session: Session, *, origins: Collection[str], now: datetime) -> dict[str, InFlight]:
    """Count the live leases of each origin over all workers."""
    rows = session.execute(
        select(Delivery.origin, func.count(), func.min(Delivery.leased_until))
        .where(Delivery.origin.in_(list(origins)), Delivery.leased_until > now)
        .group_by(Delivery.origin)
    )
    found = {origin: InFlight(count=count, first_end=end) for origin, count, end in rows}
    return {origin: found.get(origin, InFlight(count=0, first_end=None)) for origin in origins}


def next_due(session: Session, *, origins: Collection[str]) -> dict[str, datetime | None]:
    """Return when the first PENDING delivery of each origin is due, or its lease ends."""
    first = (
        select(Delivery.next_attempt_at)
        .where(Delivery.origin == Origin.origin, Delivery.state == "PENDING")
        .order_by(Delivery.next_attempt_at)
        .limit(1)
        .correlate(Origin)
        .scalar_subquery()
    )
    rows = session.execute(select(Origin.origin, first.label("at")).where(Origin.origin.in_(list(origins))))
    return {row.origin: row.at for row in rows}


def reschedule(session: Session, *, at: Mapping[str, datetime | None]) -> None:
    """Set when each origin, locked by this transaction, is looked at next."""
    if not at:
        return
    origins = table_of(Origin)
    statement = update(origins).where(origins.c.origin == bindparam("key"))
    session.connection().execute(
        statement, [{"key": origin, "next_claim_at": moment} for origin, moment in sorted(at.items())]
    )


def write_health(
    session: Session,
    *,
    health: Mapping[str, OriginHealth],
    next_claim_at: Mapping[str, datetime | None],
    now: datetime,
) -> None:
    """Write what outcomes have made of each origin, locked by this transaction."""
    origins = table_of(Origin)
    statement = update(origins).where(origins.c.origin == bindparam("key"))
    rows: Sequence[dict[str, object]] = [
        {
            "key": origin,
            "concurrency": one.concurrency,
            "failures": one.failures,
            "openings": one.openings,
            "open_until": one.open_until,
            "next_claim_at": next_claim_at[origin],
            "last_used_at": now,
        }
        for origin, one in sorted(health.items())
    ]
    session.connection().execute(statement, list(rows))
