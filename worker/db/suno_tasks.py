"""Statements on `suno_tasks` and `transitions`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from worker.core.lifecycle import TERMINAL, Known, Status, Step
from worker.db.many_rows import insert_rows, update_rows
from worker.db.models import SunoTask, Transition
from worker.db.statements import among, run, upsert

_STATUSES = {status.value: status for status in Status}
_OF_BATCHES = (
    select(
        SunoTask.id,
        SunoTask.poll_batch_id,
        SunoTask.task_id,
        SunoTask.status,
        SunoTask.upstream_status,
        SunoTask.progress,
        SunoTask.fail_reason,
        SunoTask.absences,
        SunoTask.stuck_since_at,
        SunoTask.enqueued_at,
    )
    .where(SunoTask.poll_batch_id.in_(bindparam("batch_ids", expanding=True)))
    .order_by(SunoTask.id)
)
_FOUND = select(
    SunoTask.gateway, SunoTask.task_id, SunoTask.action, SunoTask.notify_hook, SunoTask.status
).where(SunoTask.gateway == bindparam("of"), among(SunoTask.task_id, "task_ids"))
_HELD = (
    select(SunoTask.id, SunoTask.status, SunoTask.notify_hook)
    .where(among(SunoTask.id, "ids"))
    .order_by(SunoTask.id)
    .with_for_update(key_share=True)
)
_SEEN = (("id", "row_id"), ("status", "status_seen"))


class Watched(Struct, frozen=True, kw_only=True, gc=False):
    """A pending Suno task as its poll batch's claim read it."""

    id: int
    batch_id: int
    task_id: str
    known: Known


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """What an enqueue compares itself with."""

    gateway: str
    task_id: str
    action: str
    notify_hook: str | None
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A row that this transaction has locked: its status and hook cannot change before the commit."""

    id: int
    status: str
    notify_hook: str | None


def find(session: Session, *, gateway: str, task_ids: Iterable[str]) -> dict[str, Existing]:
    """Return those of `task_ids` that are watched at `gateway`."""
    rows = run(session, _FOUND, {"of": gateway, "task_ids": list(task_ids)})
    return {row.task_id: Existing(**row._mapping) for row in rows}  # noqa: SLF001 - a public name of SQLAlchemy


def add_missing(session: Session, *, rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Insert tasks that are not there; return the ids of those inserted, by their task_id.

    A task that another transaction inserts at the same time is left alone and not returned.
    """
    # Rows that are a part of the statement would be compiled anew each time, which costs more than the rest.
    statement = upsert(session, SunoTask).on_conflict_do_nothing().returning(SunoTask.id, SunoTask.task_id)
    inserted = run(session, statement, rows)
    return {row.task_id: row.id for row in inserted}


def of_batches(session: Session, *, batch_ids: Sequence[int]) -> dict[int, list[Watched]]:
    """Return the pending tasks of each batch, oldest first."""
    found: dict[int, list[Watched]] = {batch_id: [] for batch_id in batch_ids}
    # All rows at once and by position: row by row and by name, reading them was the largest cost of a claim.
    rows: Sequence[Any] = run(session, _OF_BATCHES, {"batch_ids": batch_ids}).all()
    for row_id, batch_id, task_id, status, word, progress, reason, absences, stuck_at, enqueued_at in rows:
        known = Known(
            status=_STATUSES[status],
            upstream_status=word,
            progress=progress,
            fail_reason=reason,
            absences=absences,
            stuck_since_at=stuck_at,
            enqueued_at=enqueued_at,
        )
        found[batch_id].append(Watched(id=row_id, batch_id=batch_id, task_id=task_id, known=known))
    return found


def hold(session: Session, *, ids: Sequence[int]) -> dict[int, Held]:
    """Lock the rows in one order for all and return what they hold now."""
    rows: Sequence[Any] = run(session, _HELD, {"ids": list(ids)}).all()
    return {row_id: Held(id=row_id, status=status, notify_hook=hook) for row_id, status, hook in rows}


def write_if_status_seen(session: Session, *, steps: Sequence[tuple[Watched, Step]], now: datetime) -> None:
    """Write what changed, each row only if its status is still the one that was seen.

    The caller holds the rows.
    """
    going_on = [_changes(watched, step) for watched, step in steps if step.known.status not in TERMINAL]
    ended = [
        _changes(watched, step) | _end(step, now) for watched, step in steps if step.known.status in TERMINAL
    ]
    update_rows(session, SunoTask, going_on, seen=_SEEN)
    update_rows(session, SunoTask, ended, seen=_SEEN, text="data")


def add_transitions(session: Session, *, rows: Sequence[tuple[int, str | None, str]], now: datetime) -> None:
    """Record changes of status: (row id, from, to)."""
    insert_rows(
        session,
        Transition,
        [
            {"suno_task_id": row_id, "from_status": before, "to_status": after, "at": now}
            for row_id, before, after in rows
        ],
    )


def _changes(watched: Watched, step: Step) -> dict[str, Any]:
    return {
        "row_id": watched.id,
        "status_seen": watched.known.status.value,
        "status": step.known.status.value,
        "upstream_status": step.known.upstream_status,
        "progress": step.known.progress,
        "fail_reason": step.known.fail_reason,
        "absences": step.known.absences,
        "stuck_since_at": step.known.stuck_since_at,
    }


def _end(step: Step, now: datetime) -> dict[str, Any]:
    return {
        "upstream_submitted_at": step.times.submitted_at,
        "upstream_started_at": step.times.started_at,
        "upstream_finished_at": step.times.finished_at,
        "data": step.data,
        "finished_at": now,
        "last_polled_at": now,
        "poll_batch_id": None,
    }
