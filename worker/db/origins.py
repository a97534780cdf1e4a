"""Statements on `origins`: which of them are due, and what all workers know of each.

Whoever changes an origin's schedule or health holds its row, and takes several rows in the order of their
names. A claim reads what it counts in statements of its own after it has the rows: on PostgreSQL a lock taken
inside the counting statement would come after that statement's snapshot, and limits would be exceeded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Integer,
    Row,
    ScalarSelect,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from worker.core.origins import OriginHealth
from worker.db.models import Delivery, Origin
from worker.db.statements import among, run, table_of, upsert
from worker.db.types import UtcDateTime

HEALTH = (
    Origin.origin,
    Origin.concurrency,
    Origin.failures,
    Origin.openings,
    Origin.open_until,
    Origin.delivered_at,
)


def _first_due() -> ScalarSelect[Any]:
    """Return the due time of an origin's first PENDING delivery, as one look at its index."""
    # State and limit stand in the text, for a plan that is made once (`delivery_claims`).
    return (
        select(Delivery.next_attempt_at)
        .where(Delivery.origin == Origin.origin, Delivery.state == literal_column("'PENDING'"))
        .order_by(Delivery.next_attempt_at)
        .limit(literal_column("1", Integer))
        .correlate(Origin)
        .scalar_subquery()
    )


_DUE = (
    select(*HEALTH)
    .where(Origin.next_claim_at <= bindparam("now"))
    .order_by(Origin.next_claim_at)
    .limit(bindparam("most"))
)
_PROVEN_DUE = _DUE.where(Origin.delivered_at.is_not(None), Origin.failures == 0)
_UNLOCKED, _PROVEN_UNLOCKED = (
    due.with_for_update(key_share=True, skip_locked=True) for due in (_DUE, _PROVEN_DUE)
)
_NAMED = (
    select(*HEALTH)
    .where(among(Origin.origin, "names"))
    .order_by(Origin.origin)
    .with_for_update(key_share=True)
)
_IN_FLIGHT = (
    select(Delivery.origin, func.count().label("live"), func.min(Delivery.leased_until).label("first_end"))
    .where(among(Delivery.origin, "names"), Delivery.leased_until > bindparam("now"))
    .group_by(Delivery.origin)
)
_NEXT_DUE = select(Origin.origin, _first_due().label("at")).where(among(Origin.origin, "names"))
_RESCHEDULED = (
    update(table_of(Origin))
    .where(among(table_of(Origin).c.origin, "names"))
    .values(next_claim_at=bindparam("moment", type_=UtcDateTime()))
)
_ONE = update(table_of(Origin)).where(table_of(Origin).c.origin == bindparam("key"))
_FLOOR = bindparam("floor", type_=UtcDateTime())
_CHANGED = _ONE.values(next_claim_at=case((_first_due() < _FLOOR, _FLOOR), else_=_first_due()))


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """The live leases of one origin."""

    count: int
    first_end: datetime | None  # when the first of them ends by itself


def make_due(session: Session, *, origins: Collection[str], now: datetime) -> None:
    """Let a claim look at `origins` now, or as soon as an open breaker lets a probe through.

    New origins get their row. An earlier look stays: no PENDING delivery is ever behind an origin that sleeps
    for longer than it.
    """
    target = case((Origin.open_until > now, Origin.open_until), else_=literal(now, UtcDateTime()))
    for origin in sorted(origins):
        statement = upsert(session, Origin).values(origin=origin, next_claim_at=now, last_used_at=now)
        run(
            session,
            statement.on_conflict_do_update(
                index_elements=["origin"],
                set_={"next_claim_at": target, "last_used_at": now},
                where=or_(Origin.next_claim_at.is_(None), Origin.next_claim_at > target),
            ),
        )


def take_due(
    session: Session, *, limit: int, proven_only: bool = False, now: datetime
) -> dict[str, OriginHealth]:
    """Lock up to `limit` origins that are due, those that have waited longest first; return their health.

    With `proven_only`, the others keep their place in the line and are passed (`core.origins.is_proven`).
    Rows that somebody else holds are passed over, unless that leaves none: then they are waited for, in the
    order of their names.
    """
    due, unlocked = (_PROVEN_DUE, _PROVEN_UNLOCKED) if proven_only else (_DUE, _UNLOCKED)
    wanted = [{"now": now, "most": limit}]
    found = _health(run(session, unlocked, wanted))
    if found:
        return found
    names = [row.origin for row in run(session, due, wanted)]
    held = lock(session, origins=names) if names else {}
    return {name: held[name] for name in names if name in held}


def lock(session: Session, *, origins: Collection[str]) -> dict[str, OriginHealth]:
    """Take the rows until the end of the transaction, in the order of their names; return their health."""
    return _health(run(session, _NAMED, [{"names": list(origins)}]))


def in_flight(session: Session, *, origins: Collection[str], now: datetime) -> dict[str, InFlight]:
    """Count the live leases of each origin over all workers."""
    rows = run(session, _IN_FLIGHT, [{"names": list(origins), "now": now}])
    found = {row.origin: InFlight(count=row.live, first_end=row.first_end) for row in rows}
    return {origin: found.get(origin, InFlight(count=0, first_end=None)) for origin in origins}


def next_due(session: Session, *, origins: Collection[str]) -> dict[str, datetime | None]:
    """Return when the first PENDING delivery of each origin is due, or its lease ends."""
    if not origins:
        return {}
    rows = run(session, _NEXT_DUE, [{"names": list(origins)}])
    return {row.origin: row.at for row in rows}


def reschedule(session: Session, *, at: Mapping[str, datetime | None]) -> None:
    """Set when each origin, locked by this transaction, is looked at next."""
    names: dict[datetime | None, list[str]] = {}
    for origin, moment in at.items():
        names.setdefault(moment, []).append(origin)
    for moment, those in names.items():  # nearly all are to be looked at again now
        run(session, _RESCHEDULED, [{"names": those, "moment": moment}])


def write_health(
    session: Session, *, health: Mapping[str, OriginHealth], not_before: Mapping[str, datetime], now: datetime
) -> None:
    """Write what outcomes have made of each origin, locked by this transaction.

    It is looked at next when its first delivery is due, but not before `not_before`.
    """
    rows = [
        {
            "key": origin,
            "floor": not_before[origin],
            "concurrency": one.concurrency,
            "failures": one.failures,
            "openings": one.openings,
            "open_until": one.open_until,
            "delivered_at": one.delivered_at,
            "last_used_at": now,
        }
        for origin, one in sorted(health.items())
    ]
    run(session, _CHANGED, rows)


def _health(rows: Iterable[Row[Any]]) -> dict[str, OriginHealth]:
    return {
        row.origin: OriginHealth(
            concurrency=row.concurrency,
            failures=row.failures,
            openings=row.openings,
            open_until=row.open_until,
            delivered_at=row.delivered_at,
        )
        for row in rows
    }
