"""Statements on `poll_batches`: claim what is due, and record what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, exists, func, insert, select, update
from sqlalchemy.orm import Session

from worker.db.models import PollBatch, SunoTask
from worker.db.statements import run, run_scalars


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A claimed poll batch. `claims` is its fencing token: a record with an older one changes nothing."""

    batch_id: int
    gateway: str
    action: str
    claims: int
    youngest_at: datetime
    leased_until: datetime
    alone: bool


def add(
    session: Session,
    *,
    gateway: str,
    action: str,
    next_poll_at: datetime,
    youngest_at: datetime,
    alone: bool = False,
) -> int:
    """Insert a batch and return its id; its tasks follow in the same transaction."""
    statement = insert(PollBatch).values(
        gateway=gateway, action=action, next_poll_at=next_poll_at, youngest_at=youngest_at, alone=alone
    )
    batch_id: int = run_scalars(session, statement.returning(PollBatch.id)).one()
    return batch_id


def live_leases(session: Session, *, gateway: str, now: datetime) -> int:
    """Return how many requests to `gateway` all workers together have in flight."""
    count: int = run_scalars(
        session, select(func.count()).where(PollBatch.gateway == gateway, PollBatch.leased_until > now)
    ).one()
    return count


def any_due(session: Session, *, gateway: str, now: datetime) -> bool:
    """Say whether a batch of `gateway` is due now."""
    due = exists().where(PollBatch.gateway == gateway, PollBatch.next_poll_at <= now)
    return bool(run_scalars(session, select(due)).one())


def claim(session: Session, *, gateway: str, limit: int, lease: timedelta, now: datetime) -> list[Lease]:
    """Take up to `limit` due batches, longest due first: their due time moves to the lease's end."""
    due = (
        select(PollBatch.id)
        .where(PollBatch.gateway == gateway, PollBatch.next_poll_at <= now)
        .order_by(PollBatch.next_poll_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    until = now + lease
    statement = (
        update(PollBatch)
        .where(PollBatch.id.in_(select(due.c.id)))
        .values(next_poll_at=until, leased_until=until, claims=PollBatch.claims + 1)
        .returning(PollBatch.id, PollBatch.action, PollBatch.claims, PollBatch.youngest_at, PollBatch.alone)
    )
    return [
        Lease(
            batch_id=row.id,
            gateway=gateway,
            action=row.action,
            claims=row.claims,
            youngest_at=row.youngest_at,
            leased_until=until,
            alone=row.alone,
        )
        for row in run(session, statement)
    ]


def renew_lease_seen(session: Session, *, lease: Lease, leased_until: datetime, now: datetime) -> bool:
    """Lengthen the lease between two requests of one batch; False when another claim has come since."""
    return _write_if_claim_seen(
        session,
        lease=lease,
        values={"next_poll_at": leased_until, "leased_until": leased_until, "last_polled_at": now},
    )


def release_lease_seen(
    session: Session, *, lease: Lease, next_poll_at: datetime, alone: bool = False, now: datetime
) -> bool:
    """End the lease and set the next due time; False when another claim has come since."""
    return _write_if_claim_seen(
        session,
        lease=lease,
        values={"next_poll_at": next_poll_at, "leased_until": None, "last_polled_at": now, "alone": alone},
    )


def delete_empty(session: Session, *, batch_id: int) -> bool:
    """Delete the batch if no pending task is left in it; the foreign key is the last guard."""
    left = exists().where(SunoTask.poll_batch_id == batch_id)
    statement = delete(PollBatch).where(PollBatch.id == batch_id, ~left).returning(PollBatch.id)
    return run(session, statement).first() is not None


def _write_if_claim_seen(session: Session, *, lease: Lease, values: dict[str, Any]) -> bool:
    statement = (
        update(PollBatch)
        .where(PollBatch.id == lease.batch_id, PollBatch.claims == lease.claims)
        .values(**values)
        .returning(PollBatch.id)
    )
    return run(session, statement).first() is not None
