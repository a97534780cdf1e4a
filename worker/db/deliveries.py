"""Statements on `deliveries` and `attempts`: the outbox, claimed under its origins' rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any

from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.orm import Session

from worker.core.lifecycle import Action, Status, Times
from worker.core.webhook import Result
from worker.db import origins
from worker.db.many_rows import insert_rows
from worker.db.models import Attempt, Delivery, SunoTask
from worker.db.statements import among, run, table_of

# The one event there is: the Suno task has ended. A delivery is unique for its task and event.
FINISHED = "finished"


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    DISCARDED = "DISCARDED"


class Trigger(StrEnum):
    """Why an attempt is made."""

    SCHEDULE = "schedule"  # the first, and each retry when its time has come
    RESEND = "resend"
    RECOVER = "recover"


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
    origin: str
    claims: int
    trigger: Trigger
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
    origins.make_due(session, origins={one.origin for one in owed}, now=now)
    insert_rows(
        session,
        Delivery,
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


_HELD = (
    select(Delivery.id, Delivery.state, Delivery.claims, Delivery.attempt_count)
    .where(among(Delivery.id, "ids"))
    .order_by(Delivery.id)
    .with_for_update(key_share=True)
)


def hold(session: Session, *, ids: Sequence[str]) -> dict[str, Held]:
    """Lock the rows in one order for all and return what they hold now."""
    rows = run(session, _HELD, [{"ids": list(ids)}]).all()
    return {
        row.id: Held(state=State(row.state), claims=row.claims, attempt_count=row.attempt_count)
        for row in rows
    }


_CHANGED = update(table_of(Delivery)).where(
    among(table_of(Delivery).c.id, "row_ids"),
    table_of(Delivery).c.state == bindparam("state_seen"),
    table_of(Delivery).c.claims == bindparam("claims_seen"),
)


def write_if_state_seen(session: Session, *, changes: Sequence[Mapping[str, Any]]) -> None:
    """Write each change only if its row still has the state and the claim that were seen.

    A change names `row_id`, `state_seen`, `claims_seen` and new values for some columns. Rows that change
    alike, as those of a healthy receiver do, are written together; so are changes of the same columns.
    """
    alike: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for change in changes:
        values = tuple(sorted((name, value) for name, value in change.items() if name != "row_id"))
        alike.setdefault(values, []).append(change["row_id"])
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for values, ids in alike.items():
        columns = tuple(name for name, _ in values)
        groups.setdefault(columns, []).append({**dict(values), "row_ids": ids})
    for group in groups.values():
        run(session, _CHANGED, group)


def add_attempts(session: Session, *, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the attempt log."""
    insert_rows(session, Attempt, rows)


# Of a claimed delivery and its Suno task, all that its POST needs.
LEASED = (
    table_of(Delivery).c.id,
    table_of(Delivery).c.notify_hook,
    table_of(Delivery).c.origin,
    table_of(Delivery).c.claims,
    table_of(Delivery).c.trigger,
    table_of(Delivery).c.created_at,
    table_of(SunoTask).c.gateway,
    table_of(SunoTask).c.task_id,
    table_of(SunoTask).c.action,
    table_of(SunoTask).c.status,
    table_of(SunoTask).c.fail_reason,
    table_of(SunoTask).c.progress,
    table_of(SunoTask).c.upstream_submitted_at,
    table_of(SunoTask).c.upstream_started_at,
    table_of(SunoTask).c.upstream_finished_at,
    table_of(SunoTask).c.data,
)


def leases_of(rows: Sequence[Row[Any]], *, now: datetime, until: datetime) -> list[Lease]:
    """Return what rows of `LEASED` say, oldest first."""
    return [
        Lease(
            id=row.id,
            gateway=row.gateway,
            origin=row.origin,
            claims=row.claims,
            trigger=Trigger(row.trigger),
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
        for row in sorted(rows, key=attrgetter("created_at"))
    ]
