"""Statements on `poll_batches`: make one, claim what is due, record what became of it.

`size` is the number of Suno tasks that belong to a batch. Whoever inserts, ends or moves tasks writes it in
the same transaction, and holds the batch while doing so: an enqueue has just made it, a record has its claim,
and a claim has locked it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, insert, select, update
from sqlalchemy.orm import Session

from worker.db.many_rows import update_rows
from worker.db.models import PollBatch, SunoTask
from worker.db.statements import among, run, run_scalars, table_of

_OF_GATEWAY = PollBatch.gateway == bindparam("of")
_LIVE = select(func.count()).where(_OF_GATEWAY, PollBatch.leased_until > bindparam("now"))
_LOOK = select(
    exists().where(_OF_GATEWAY, PollBatch.next_poll_at <= bindparam("now")),
    select(PollBatch.next_poll_at)
    .where(_OF_GATEWAY, PollBatch.next_poll_at > bindparam("now"))
    .order_by(PollBatch.next_poll_at)
    .limit(1)
    .scalar_subquery(),
)
_HELD = (
    select(PollBatch.id, PollBatch.claims, PollBatch.leased_until, PollBatch.size, PollBatch.alone)
    .where(among(PollBatch.id, "ids"))
    .order_by(PollBatch.id)
    .with_for_update(key_share=True)
)
_LOCKED = (("id", "row_id"),)
_CLAIM_SEEN = (("id", "row_id"), ("claims", "claims_seen"))
_SHRINK = (
    update(table_of(PollBatch))
    .where(table_of(PollBatch).c.id == bindparam("row_id"))
    .values(size=table_of(PollBatch).c.size - bindparam("left"))
)
_DELETE_EMPTY = (
    delete(table_of(PollBatch))
    .where(among(table_of(PollBatch).c.id, "ids"), table_of(PollBatch).c.size == 0)
    .returning(table_of(PollBatch).c.id)
)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A batch's row, locked by this transaction."""

    claims: int
    leased_until: datetime | None
    size: int
    alone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What an answer makes of a claimed batch: when it is due, and whether the lease goes on until then."""

    lease: Lease
    next_poll_at: datetime
    leased_until: datetime | None
    alone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Whether a batch is due, and how long until another is that is not due yet; None where there is none."""

    is_due: bool
    next_in: timedelta | None


def add(
    session: Session,
    *,
    gateway: str,
    action: str,
    size: int,
    next_poll_at: datetime,
    youngest_at: datetime,
    alone: bool = False,
) -> int:
    """Insert a batch for `size` tasks and return its id; they follow in the same transaction."""
    statement = insert(PollBatch).values(
        gateway=gateway,
        action=action,
        size=size,
        next_poll_at=next_poll_at,
        youngest_at=youngest_at,
        alone=alone,
    )
    batch_id: int = run_scalars(session, statement.returning(PollBatch.id)).one()
    return batch_id


def live_leases(session: Session, *, gateway: str, now: datetime) -> int:
    """Return how many requests to `gateway` all workers together have in flight."""
    count: int = run_scalars(session, _LIVE, {"of": gateway, "now": now}).one()
    return count


def look(session: Session, *, gateway: str, now: datetime) -> Look:
    """Say whether a batch of `gateway` is due now, and when the next will be."""
    found: Any = run(session, _LOOK, {"of": gateway, "now": now}).one()
    is_due, next_at = found
    return Look(is_due=bool(is_due), next_in=None if next_at is None else next_at - now)


def write_leases(session: Session, *, leases: Sequence[Lease], sizes: Mapping[int, int]) -> None:
    """Lease batches that the caller has locked: their due time moves to the lease's end.

    Their age and size become those of the tasks that they have now.
    """
    changes: list[dict[str, Any]] = [
        {
            "row_id": lease.batch_id,
            "next_poll_at": lease.leased_until,
            "leased_until": lease.leased_until,
            "claims": lease.claims,
            "youngest_at": lease.youngest_at,
            "size": sizes[lease.batch_id],
        }
        for lease in leases
    ]
    update_rows(session, PollBatch, changes, seen=_LOCKED)


def hold(session: Session, *, ids: Collection[int]) -> dict[int, Held]:
    """Lock batches in one order for all and return what they hold now."""
    rows: Sequence[Any] = run(session, _HELD, {"ids": list(ids)}).all()
    return {
        row_id: Held(claims=claims, leased_until=leased_until, size=size, alone=alone)
        for row_id, claims, leased_until, size, alone in rows
    }


def write_if_claim_seen(session: Session, *, answered: Sequence[Answered], now: datetime) -> None:
    """Write what answers make of batches that the caller holds, each unless another claim has come since.

    Of two for one batch the later counts.
    """
    changes = {
        one.lease.batch_id: {
            "row_id": one.lease.batch_id,
            "claims_seen": one.lease.claims,
            "next_poll_at": one.next_poll_at,
            "leased_until": one.leased_until,
            "last_polled_at": now,
            "alone": one.alone,
        }
        for one in answered
    }
    update_rows(session, PollBatch, list(changes.values()), seen=_CLAIM_SEEN)


def shrink(session: Session, *, left: Mapping[int, int]) -> None:
    """Take the tasks that left a batch off its size: how many, by the batch's id."""
    if left:
        run(
            session,
            _SHRINK,
            [{"row_id": batch_id, "left": count} for batch_id, count in sorted(left.items())],
        )


def delete_empty(session: Session, *, batch_ids: Collection[int]) -> list[int]:
    """Delete those batches in which no task is left, and return them; the foreign key is the last guard."""
    return list(run_scalars(session, _DELETE_EMPTY, {"ids": list(batch_ids)})) if batch_ids else []


def delete_emptied(session: Session, *, batch_ids: Sequence[int]) -> None:
    """Delete batches whose tasks have all moved; the foreign key refuses one that has any left."""
    if batch_ids:
        run(session, delete(PollBatch).where(PollBatch.id.in_(batch_ids)))


def move(session: Session, *, sources: Sequence[int], target: int, count: int | None = None) -> None:
    """Give the tasks of `sources` to the batch `target`: all, or the `count` oldest of them."""
    theirs = SunoTask.poll_batch_id.in_(sources)
    statement = update(SunoTask).where(theirs).values(poll_batch_id=target)
    if count is not None:
        oldest = select(SunoTask.id).where(theirs).order_by(SunoTask.id).limit(count)
        statement = statement.where(SunoTask.id.in_(oldest.scalar_subquery()))
    run(session, statement)
