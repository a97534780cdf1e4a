"""Statements on `deliveries` and `attempts`: the outbox, claimed under its origins' rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import itemgetter
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
    rows = run(session, _HELD, [{"ids": list(ids)}])
    return {
        id_: Held(state=State(state), claims=claims, attempt_count=attempt_count)
        for id_, state, claims, attempt_count in rows
    }


_CHANGED = update(table_of(Delivery)).where(
    among(table_of(Delivery).c.id, "row_ids"),
    table_of(Delivery).c.state == bindparam("state_seen"),
    table_of(Delivery).c.claims == bindparam("claims_seen"),
)


def write_if_state_seen(session: Session, *, changes: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Write the change of each row, by its id, only if the row still has the state and claim that were seen.

    A change names `state_seen`, `claims_seen` and new values for some columns. Rows that change alike, as
    those of a healthy receiver do, are written together; so are changes of the same columns.
    """
    alike: dict[tuple[tuple[str, Any], ...], list[str]] = {}
    for row_id, change in changes:
        alike.setdefault(tuple(change.items()), []).append(row_id)
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
    table_of(Delivery).c.created_at,
    table_of(Delivery).c.id,
    table_of(SunoTask).c.gateway,
    table_of(Delivery).c.origin,
    table_of(Delivery).c.claims,
    table_of(Delivery).c.trigger,
    table_of(SunoTask).c.task_id,
    table_of(Delivery).c.notify_hook,
    table_of(SunoTask).c.action,
    table_of(SunoTask).c.status,
    table_of(SunoTask).c.fail_reason,
    table_of(SunoTask).c.upstream_submitted_at,
    table_of(SunoTask).c.upstream_started_at,
    table_of(SunoTask).c.upstream_finished_at,
    table_of(SunoTask).c.progress,
    table_of(SunoTask).c.data,
)


def leases_of(rows: Iterable[Row[*tuple[Any, ...]]], *, now: datetime, until: datetime) -> list[Lease]:
    """Return what rows of `LEASED` say, oldest first."""
    # Taken apart by place: by name, the 16 columns of a row take as long as all the rest.
    return [
        Lease(
            id=id_,
            gateway=gateway,
            origin=origin,
            claims=claims,
            trigger=Trigger(trigger),
            claimed_at=now,
            leased_until=until,
            result=Result(
                task_id=task_id,
                notify_hook=notify_hook,
                action=Action(action),
                status=Status(status),
                fail_reason=fail_reason,
                times=Times(submitted_at=submitted_at, started_at=started_at, finished_at=finished_at),
                progress=progress,
                data=data,
            ),
        )
        for (
            _,
            id_,
            gateway,
            origin,
            claims,
            trigger,
            task_id,
            notify_hook,
            action,
            status,
            fail_reason,
            submitted_at,
            started_at,
            finished_at,
            progress,
            data,
        ) in sorted(rows, key=itemgetter(0))
    ]
