"""Look-ups of the poll batches that a claim may take, each row locked until the claim's commit.

Both are made while the gateway's row is held, so no other claim runs beside; rows that a late record holds at
this moment are skipped, as they are about to change. Each look-up reads at most `rows` entries of its index
and locks no more batches than their tasks have room.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Select,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.orm import Session

from worker.core.schedule import cadence
from worker.db.models import PollBatch
from worker.db.statements import run
from worker.db.types import UtcDateTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimable:
    """A poll batch that this transaction has locked. `in_trouble`: its last answer was, so it stayed due."""

    id: int
    action: str
    size: int
    claims: int
    youngest_at: datetime
    alone: bool
    in_trouble: bool

    @property
    def doubted(self) -> bool:
        """Whether one of its ids may spoil a request: whoever joined it, or it joined, would wait too."""
        return self.alone or self.in_trouble


def lock_due(session: Session, *, gateway: str, room: int, rows: int, now: datetime) -> list[Claimable]:
    """Return due batches, longest due first, of each action until it has `room` tasks."""
    return _lock(session, _LOCK_DUE, {"of": gateway, "now": now, "room": room, "rows": rows})


def lock_thin(
    session: Session,
    *,
    gateway: str,
    actions: Collection[str],
    below: int,
    room: int,
    rows: int,
    interval: timedelta,
    now: datetime,
) -> list[Claimable]:
    """Return batches of less than `below` tasks that are due within half of their interval, soonest first.

    Of each action until it has `room` tasks. `interval` is that of the youngest batches; `below` is at most
    90, where the index ends. A batch that somebody has leased is never returned: one whose lease has ended is
    due.
    """
    *steps, (_, longest) = cadence(interval=interval)
    last = _moment(now + longest / 2)
    soon = case(
        *((PollBatch.youngest_at > now - age, _moment(now + wait / 2)) for age, wait in steps), else_=last
    )
    thin = (
        PollBatch.gateway == gateway,
        PollBatch.action.in_(sorted(actions)),
        PollBatch.leased_until.is_(None),
        PollBatch.alone.is_(False),
        literal_column("poll_batches.size < 90", Boolean),  # the index's own words: no parameter proves them
        PollBatch.size < below,
        PollBatch.next_poll_at > now,
        PollBatch.next_poll_at <= last,
        PollBatch.next_poll_at <= soon,
    )
    return _lock(session, _locking(thin), {"room": room, "rows": rows})


def _moment(at: datetime) -> ColumnElement[datetime]:
    return literal(at, UtcDateTime())


def _lock(session: Session, statement: Select[Any], values: Mapping[str, object]) -> list[Claimable]:
    rows = run(session, statement, values)
    return [Claimable(**row._mapping) for row in rows]  # noqa: SLF001 - a public name of SQLAlchemy


def _locking(where: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Build the look-up of batches `where`: parameters `rows` and `room`."""
    columns = (PollBatch.id, PollBatch.action, PollBatch.size, PollBatch.next_poll_at)
    found = (
        select(*columns).where(*where).order_by(PollBatch.next_poll_at).limit(bindparam("rows")).cte("found")
    )
    before = func.sum(found.c.size).over(
        partition_by=found.c.action, order_by=(found.c.next_poll_at, found.c.id), rows=(None, 0)
    )
    placed = select(found.c.id, (before - found.c.size).label("before")).cte("placed")
    # Only trouble leaves a batch due at the moment of its answer; all others put it off, so does a lease.
    stayed_due = PollBatch.next_poll_at == PollBatch.last_polled_at
    in_trouble = case((stayed_due, literal(value=True)), else_=literal(value=False)).label("in_trouble")
    return (
        select(
            PollBatch.id,
            PollBatch.action,
            PollBatch.size,
            PollBatch.claims,
            PollBatch.youngest_at,
            PollBatch.alone,
            in_trouble,
        )
        .where(PollBatch.id.in_(select(placed.c.id).where(placed.c.before < bindparam("room"))), *where)
        .order_by(PollBatch.next_poll_at, PollBatch.id)
        .with_for_update(skip_locked=True)
    )


_LOCK_DUE = _locking((PollBatch.gateway == bindparam("of"), PollBatch.next_poll_at <= bindparam("now")))
