"""Reads for people and dashboards: how much is where, how late the oldest due work is, what was refused.

Nothing here is on a hot path: counting walks whole tables. What is returned are plain values that outlive the
session.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.core.lifecycle import PENDING, Status
from worker.core.wire import Trouble
from worker.db.deliveries import State
from worker.db.lateness import oldest_due_delivery, oldest_due_poll
from worker.db.models import Delivery, Gateway, Rejection, SunoTask
from worker.db.origin_overview import count_not_closed


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayHealth:
    """A gateway's row, and how many pending Suno tasks it has."""

    name: str
    cooling_until: datetime | None
    trouble: Trouble | None
    last_error: str | None
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """How much is where. A lateness is zero when nothing is due."""

    tasks: Mapping[Status, int]
    deliveries: Mapping[State, int]
    oldest_due_poll: timedelta
    oldest_due_delivery: timedelta
    gateways: tuple[GatewayHealth, ...]
    origins_open: int
    rejections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A request to watch a task that was refused."""

    id: int
    at: datetime
    source: str
    reason: str
    arguments: str


def read_overview(session: Session, *, now: datetime) -> Overview:
    """Count tasks, deliveries and rejections; say how late the oldest due poll and delivery are at `now`."""
    counted = session.execute(
        select(SunoTask.gateway, SunoTask.status, func.count()).group_by(SunoTask.gateway, SunoTask.status)
    ).all()
    tasks = dict.fromkeys(Status, 0)
    pending: dict[str, int] = {}
    for gateway, status, number in counted:
        tasks[Status(status)] += number
        if status in PENDING:
            pending[gateway] = pending.get(gateway, 0) + number
    deliveries = dict.fromkeys(State, 0)
    counted_deliveries = session.execute(
        select(Delivery.state, func.count().label("number")).group_by(Delivery.state)
    )
    deliveries |= {State(row.state): row.number for row in counted_deliveries}
    gateways = session.scalars(select(Gateway).order_by(Gateway.name))
    return Overview(
        tasks=tasks,
        deliveries=deliveries,
        oldest_due_poll=oldest_due_poll(session, now=now),
        oldest_due_delivery=oldest_due_delivery(session, now=now),
        gateways=tuple(
            GatewayHealth(
                name=gateway.name,
                cooling_until=gateway.cooling_until,
                trouble=None if gateway.trouble is None else Trouble(gateway.trouble),
                last_error=gateway.last_error,
                pending=pending.get(gateway.name, 0),
            )
            for gateway in gateways
        ),
        origins_open=count_not_closed(session, now=now),
        rejections=session.scalar(select(func.count()).select_from(Rejection)) or 0,
    )


def read_rejections(session: Session, *, limit: int) -> tuple[Refusal, ...]:
    """Return at most `limit` refusals, the newest first."""
    rows = session.scalars(select(Rejection).order_by(Rejection.at.desc(), Rejection.id.desc()).limit(limit))
    return tuple(
        Refusal(id=row.id, at=row.at, source=row.source, reason=row.reason, arguments=row.arguments)
        for row in rows
    )
