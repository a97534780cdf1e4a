"""Figures for machines that look every few seconds: what each costs does not grow with what is kept.

`read_figures` looks at indexes and at small tables only. `read_counts` walks an index from end to end, since
neither database keeps the number of its rows; whoever calls it keeps what it returned for a while. How many
SUCCESS and how many FAILURE are kept is not among them: no worker needs an index on that, and without one the
whole table with all results would be read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, func, literal, select
from sqlalchemy.orm import Session

from worker.core.lifecycle import PENDING, Status
from worker.core.origins import Breaker
from worker.core.wire import Trouble
from worker.db.deliveries import State
from worker.db.gateways import batch_sizes as known_gateways
from worker.db.lateness import oldest_due_delivery, oldest_due_poll
from worker.db.models import Delivery, Gateway, Origin, PollBatch, SunoTask


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFigures:
    """One gateway's row, and how many pending Suno tasks it has."""

    name: str
    is_configured: bool
    cooling_for: timedelta  # zero when it may be asked
    failures: int
    trouble: Trouble | None
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is read at each look."""

    oldest_due_poll: timedelta
    oldest_due_delivery: timedelta
    gateways: tuple[GatewayFigures, ...]
    receivers: Mapping[Breaker, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What walks an index."""

    pending_tasks: Mapping[Status, int]
    finished_tasks: int
    deliveries: Mapping[State, int]


def read_figures(session: Session, *, now: datetime) -> Figures:
    """Return the figures of this moment."""
    return Figures(
        oldest_due_poll=oldest_due_poll(session, now=now),
        oldest_due_delivery=oldest_due_delivery(session, now=now),
        gateways=_gateways(session, now=now),
        receivers=_receivers(session, now=now),
    )


def read_counts(session: Session) -> Counts:
    """Count the Suno tasks and deliveries that are kept."""
    by_status = select(SunoTask.status, func.count()).where(SunoTask.poll_batch_id.is_not(None))
    pending = {
        Status(status): count for status, count in session.execute(by_status.group_by(SunoTask.status))
    }
    finished = select(func.count()).where(SunoTask.finished_at.is_not(None))
    deliveries = session.scalar(select(func.count()).select_from(Delivery)) or 0
    owed = count_deliveries(session, state=State.PENDING)
    discarded = count_deliveries(session, state=State.DISCARDED)
    return Counts(
        pending_tasks={status: pending.get(status, 0) for status in Status if status in PENDING},
        finished_tasks=session.scalar(finished) or 0,
        deliveries={
            State.PENDING: owed,
            State.DELIVERED: max(deliveries - owed - discarded, 0),
            State.DISCARDED: discarded,
        },
    )


def count_deliveries(session: Session, *, state: State) -> int:
    """Count what is kept in one state; PENDING and DISCARDED have an index each."""
    # Written into the statement: a prepared one with a parameter could not be sure of a partial index.
    counted = select(func.count()).where(Delivery.state == literal(state.value, literal_execute=True))
    return session.scalar(counted) or 0


def _gateways(session: Session, *, now: datetime) -> tuple[GatewayFigures, ...]:
    sizes = select(PollBatch.gateway, func.sum(PollBatch.size)).group_by(PollBatch.gateway)
    pending: dict[str, int] = {name: int(size) for name, size in session.execute(sizes)}
    configured = known_gateways(session)
    return tuple(
        GatewayFigures(
            name=row.name,
            is_configured=row.name in configured,
            cooling_for=max((row.cooling_until or now) - now, timedelta()),
            failures=row.failures,
            trouble=None if row.trouble is None else Trouble(row.trouble),
            pending=pending.get(row.name, 0),
        )
        for row in session.scalars(select(Gateway).order_by(Gateway.name))
    )


def _receivers(session: Session, *, now: datetime) -> dict[Breaker, int]:
    """Count origins; a breaker whose time is over and for which nothing waits is as good as closed."""
    is_open = func.coalesce(Origin.open_until > now, False)
    probes = and_(Origin.openings > 0, ~is_open, Origin.next_claim_at.is_not(None))
    every, opened, probing = session.execute(
        select(func.count(), func.count().filter(is_open), func.count().filter(probes)).select_from(Origin)
    ).one()
    return {Breaker.CLOSED: every - opened - probing, Breaker.OPEN: opened, Breaker.PROBING: probing}
