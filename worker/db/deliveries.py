"""Statements on `deliveries`, `attempts` and `origins`: the outbox, worked like poll batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import bindparam, exists, insert, select, update
from sqlalchemy.orm import Session

from worker.core.lifecycle import Action, Status, Times
from worker.core.webhook import Result
from worker.db.models import Attempt, Delivery, Origin, SunoTask
from worker.db.statements import table_of, upsert

# The one event there is: the Suno task has ended. A delivery is unique for its task and event.
FINISHED = "finished"

LARGEST_CLAIM = 200  # rows of one claim: a transaction of milliseconds on either database


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DISCARDED = "DISCARDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """A result that a terminal transition owes to an endpoint."""

    id: str
    suno_task_id: int
    notify_hook: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A claimed delivery with all its POST needs. `claims` is the fencing token and `webhook-attempt`."""

    id: str
    gateway: str
    claims: int
    claimed_at: datetime
    leased_until: datetime
    result: Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A delivery's row, locked by this transaction."""

    state: State
    claims: int
    attempt_count: int


def add(session: Session, *, owed: Sequence[Owed], now: datetime) -> None:
    """Write the outbox rows, due at once; part of the transaction of the terminal transition."""
    if not owed:
        return
    for origin in sorted({one.origin for one in owed}):
        add_origin(session, origin=origin, now=now)
    session.execute(
        insert(Delivery),
        [
            {
                "id": one.id,
                "suno_task_id": one.suno_task_id,
                "event": FINISHED,
                "notify_hook": one.notify_hook,
                "origin": one.origin,
                "state": State.PENDING.value,
                "next_attempt_at": now,
                "created_at": now,
            }
            for one in owed
        ],
    )


def add_origin(session: Session, *, origin: str, now: datetime) -> None:
    """Make sure that the origin has its row."""
    session.execute(upsert(session, Origin).values(origin=origin, last_used_at=now).on_conflict_do_nothing())


def claim(session: Session, *, limit: int, lease: timedelta, now: datetime) -> list[Lease]:
    """Take up to `limit` due deliveries, longest due first: their due time moves to the lease's end."""
    due = (
        select(Delivery.id)
        .where(Delivery.state == State.PENDING.value, Delivery.next_attempt_at <= now)
        .order_by(Delivery.next_attempt_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    until = now + lease
    statement = (
        update(Delivery)
        .where(Delivery.id.in_(select(due.c.id)))
        .values(next_attempt_at=until, leased_until=until, claims=Delivery.claims + 1)
        .returning(Delivery.id, Delivery.claims)
        .execution_options(synchronize_session=False)
    )
    claims = {row.id: row.claims for row in session.execute(statement)}
    return _read(session, claims=claims, now=now, until=until) if claims else []


def any_due(session: Session, *, now: datetime) -> bool:
    """Say whether a delivery is due now."""
    due = exists().where(Delivery.state == State.PENDING.value, Delivery.next_attempt_at <= now)
    return bool(session.scalar(select(due)))


def hold(session: Session, *, ids: Sequence[str]) -> dict[str, Held]:
    """Lock the rows in one order for all and return what they hold now."""
    rows = session.execute(
        select(Delivery.id, Delivery.state, Delivery.claims, Delivery.attempt_count)
        .where(Delivery.id.in_(ids))
        .order_by(Delivery.id)
        .with_for_update(key_share=True)
    )
    return {
        row.id: Held(state=State(row.state), claims=row.claims, attempt_count=row.attempt_count)
        for row in rows
    }


def write_if_state_seen(session: Session, *, changes: Sequence[dict[str, Any]]) -> None:
    """Write each change only if its row still has the state and the claim that were seen.

    A change names `row_id`, `state_seen`, `claims_seen` and new values for some columns; all changes of one
    call name the same columns.
    """
    if not changes:
        return
    deliveries = table_of(Delivery)
    statement = update(deliveries).where(
        deliveries.c.id == bindparam("row_id"),
        deliveries.c.state == bindparam("state_seen"),
        deliveries.c.claims == bindparam("claims_seen"),
    )
    session.connection().execute(statement, list(changes))


def add_attempts(session: Session, *, rows: Sequence[dict[str, Any]]) -> None:
    """Write the attempt log."""
    if rows:
        session.execute(insert(Attempt), list(rows))


def _read(session: Session, *, claims: dict[str, int], now: datetime, until: datetime) -> list[Lease]:
    rows = session.execute(
        select(
            Delivery.id,
            Delivery.notify_hook,
            SunoTask.gateway,
            SunoTask.task_id,
            SunoTask.action,
            SunoTask.status,
            SunoTask.fail_reason,
            SunoTask.progress,
            SunoTask.upstream_submitted_at,
            SunoTask.upstream_started_at,
            SunoTask.upstream_finished_at,
            SunoTask.data,
        )
        .join(SunoTask, SunoTask.id == Delivery.suno_task_id)
        .where(Delivery.id.in_(claims))
        .order_by(Delivery.created_at)
    )
    return [
        Lease(
            id=row.id,
            gateway=row.gateway,
            claims=claims[row.id],
            claimed_at=now,
            leased_until=until,
            result=Result(
                task_id=row.task_id,
                notify_hook=row.notify_hook,
                action=Action(row.action),
                status=Status(row.status),
                fail_reason=row.fail_reason,
                times=Times(
                    submitted_at=row.upstream_submitted_at,
                    started_at=row.upstream_started_at,
                    finished_at=row.upstream_finished_at,
                ),
                progress=row.progress,
                data=row.data,
            ),
        )
        for row in rows
    ]
