"""What happened to one Suno task: its row, its transitions, its deliveries and every attempt.

What is returned are plain values that outlive the session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.core.lifecycle import Action, Status
from worker.db.models import Attempt, Delivery, PollBatch, SunoTask, Transition


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One transition; `from_status` is None for the first."""

    from_status: str | None
    to_status: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptMade:
    """One POST and what came of it."""

    number: int
    at: datetime
    trigger: str
    status_code: int | None
    error: str | None
    detail: str | None
    duration_ms: int
    dns_ms: int | None
    connect_ms: int | None
    first_byte_ms: int | None
    remote_address: str | None
    request_bytes: int
    request_sha256: str
    next_attempt_at: datetime | None  # as it stood after this attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryHistory:
    """One result owed to one endpoint, with every attempt."""

    id: str
    notify_hook: str
    state: str
    attempt_count: int
    next_attempt_at: datetime | None  # None once it is DELIVERED or DISCARDED
    discard_reason: str | None
    attempts: tuple[AttemptMade, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Everything known of one Suno task."""

    task_id: str
    gateway: str
    action: Action
    status: Status
    upstream_status: str | None
    progress: int
    fail_reason: str
    notify_hook: str | None
    enqueued_at: datetime
    finished_at: datetime | None
    last_polled_at: datetime | None
    next_poll_at: datetime | None  # None once it has ended
    transitions: tuple[Change, ...]
    deliveries: tuple[DeliveryHistory, ...]
    data: str | None  # the gateway's own JSON text


def find_gateways(session: Session, *, task_id: str) -> tuple[str, ...]:
    """Return the gateways that have a Suno task with this id, in the order of their names."""
    return tuple(
        session.scalars(
            select(SunoTask.gateway).where(SunoTask.task_id == task_id).order_by(SunoTask.gateway)
        )
    )


def read_history(session: Session, *, task_id: str, gateway: str) -> History | None:
    """Return everything known of one Suno task; None when there is none of that id at that gateway."""
    found = session.execute(
        select(SunoTask, PollBatch.next_poll_at, PollBatch.last_polled_at)
        .outerjoin(PollBatch, PollBatch.id == SunoTask.poll_batch_id)
        .where(SunoTask.task_id == task_id, SunoTask.gateway == gateway)
    ).one_or_none()
    if found is None:
        return None
    task: SunoTask
    task, next_poll_at, batch_polled_at = found
    polled = [moment for moment in (task.last_polled_at, batch_polled_at) if moment is not None]
    return History(
        task_id=task.task_id,
        gateway=task.gateway,
        action=Action(task.action),
        status=Status(task.status),
        upstream_status=task.upstream_status,
        progress=task.progress,
        fail_reason=task.fail_reason,
        notify_hook=task.notify_hook,
        enqueued_at=task.enqueued_at,
        finished_at=task.finished_at,
        last_polled_at=max(polled, default=None),
        next_poll_at=next_poll_at,
        transitions=_transitions(session, suno_task_id=task.id),
        deliveries=_deliveries(session, suno_task_id=task.id),
        data=task.data,
    )


def _transitions(session: Session, *, suno_task_id: int) -> tuple[Change, ...]:
    rows = session.scalars(
        select(Transition)
        .where(Transition.suno_task_id == suno_task_id)
        .order_by(Transition.at, Transition.id)
    )
    return tuple(Change(from_status=row.from_status, to_status=row.to_status, at=row.at) for row in rows)


def _deliveries(session: Session, *, suno_task_id: int) -> tuple[DeliveryHistory, ...]:
    rows = session.scalars(
        select(Delivery)
        .where(Delivery.suno_task_id == suno_task_id)
        .order_by(Delivery.created_at, Delivery.id)
    ).all()
    attempts = session.scalars(
        select(Attempt)
        .where(Attempt.delivery_id.in_([row.id for row in rows]))
        .order_by(Attempt.delivery_id, Attempt.number, Attempt.id)
    ).all()
    return tuple(
        _delivery(row, attempts=[one for one in attempts if one.delivery_id == row.id]) for row in rows
    )


def _delivery(row: Delivery, *, attempts: Sequence[Attempt]) -> DeliveryHistory:
    return DeliveryHistory(
        id=row.id,
        notify_hook=row.notify_hook,
        state=row.state,
        attempt_count=row.attempt_count,
        next_attempt_at=row.next_attempt_at if row.state == "PENDING" else None,
        discard_reason=row.discard_reason,
        attempts=tuple(
            AttemptMade(
                number=one.number,
                at=one.at,
                trigger=one.trigger,
                status_code=one.status_code,
                error=one.error,
                detail=one.detail,
                duration_ms=one.duration_ms,
                dns_ms=one.dns_ms,
                connect_ms=one.connect_ms,
                first_byte_ms=one.first_byte_ms,
                remote_address=one.remote_address,
                request_bytes=one.request_bytes,
                request_sha256=one.request_sha256,
                next_attempt_at=one.next_attempt_at,
            )
            for one in attempts
        ),
    )
