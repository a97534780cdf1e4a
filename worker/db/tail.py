"""What happened since the last look: attempts, transitions and refusals, each row once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from worker.db.cursor import Cursor, read_new
from worker.db.deliveries import State, Trigger
from worker.db.models import Attempt, Delivery, Rejection, SunoTask, Transition
from worker.db.statements import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One attempt. `waited` is how long after its due time it began; None for one that somebody asked for."""

    status_code: int | None
    error: str | None
    duration: timedelta
    waited: timedelta | None
    since_end: timedelta  # from the end of the Suno task to the answer
    trigger: Trigger
    retries: bool
    discards: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """One transition. `age` is the Suno task's at that moment."""

    gateway: str
    to_status: str
    age: timedelta


def read_attempts(session: Session, cursor: Cursor, *, now: datetime) -> list[Tried]:
    """Return what was tried since the last look, at most a page."""
    before = aliased(Attempt)
    due = (
        select(func.max(before.next_attempt_at))
        .where(before.delivery_id == Attempt.delivery_id, before.number < Attempt.number)
        .scalar_subquery()
    )
    statement = select(
        Attempt.id,
        Attempt.delivery_id,
        Attempt.number,
        Attempt.at,
        Attempt.trigger,
        Attempt.duration_ms,
        Attempt.status_code,
        Attempt.error,
        Attempt.next_attempt_at,
        due.label("due"),
    )
    rows = read_new(session, cursor, statement, key=Attempt.id, now=now)
    wanted = select(Delivery.id, Delivery.state, Delivery.claims, Delivery.created_at)
    owners = _owners(session, wanted, key=Delivery.id, ids={row.delivery_id for row in rows})
    return [_tried(row, delivery=owners[row.delivery_id]) for row in rows if row.delivery_id in owners]


def read_transitions(session: Session, cursor: Cursor, *, now: datetime) -> list[Moved]:
    """Return the transitions since the last look, at most a page."""
    statement = select(Transition.id, Transition.suno_task_id, Transition.to_status, Transition.at)
    rows = read_new(session, cursor, statement, key=Transition.id, now=now)
    wanted = select(SunoTask.id, SunoTask.gateway, SunoTask.enqueued_at)
    owners = _owners(session, wanted, key=SunoTask.id, ids={row.suno_task_id for row in rows})
    return [
        Moved(gateway=task.gateway, to_status=row.to_status, age=max(row.at - task.enqueued_at, timedelta()))
        for row in rows
        if (task := owners.get(row.suno_task_id)) is not None
    ]


def count_rejections(session: Session, cursor: Cursor, *, now: datetime) -> int:
    """Return how many requests were refused since the last look, at most a page."""
    return len(read_new(session, cursor, select(Rejection.id), key=Rejection.id, now=now))


def _owners(
    session: Session,
    statement: Select[*tuple[Any, ...]],
    *,
    key: InstrumentedAttribute[Any],
    ids: Collection[Any],
) -> dict[Any, Row[*tuple[Any, ...]]]:
    """Return the rows that others belong to, by id; one that was pruned since is not there.

    A statement of its own and no join: with old statistics a database may begin a join at the table that
    holds everything.
    """
    return {row.id: row for row in run(session, statement.where(key.in_(ids)))} if ids else {}


def _tried(row: Row[*tuple[Any, ...]], *, delivery: Row[*tuple[Any, ...]]) -> Tried:
    trigger = Trigger(row.trigger)
    duration = timedelta(milliseconds=row.duration_ms)
    waited = max(row.at - (row.due or delivery.created_at), timedelta())
    is_last_word = row.number == delivery.claims and row.next_attempt_at is None
    return Tried(
        status_code=row.status_code,
        error=row.error,
        duration=duration,
        waited=waited if trigger is Trigger.SCHEDULE else None,
        since_end=max(row.at + duration - delivery.created_at, timedelta()),
        trigger=trigger,
        retries=row.next_attempt_at is not None,
        discards=is_last_word and delivery.state == State.DISCARDED.value,
    )
