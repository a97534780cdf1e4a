"""Statements on `poll_batches`: make one, claim what is due, record what became of it.

`size` is the number of Suno tasks that belong to a batch. Whoever inserts, ends or moves tasks writes it in
the same transaction, and holds the batch while doing so: an enqueue has just made it, a record has its claim,
and a claim has locked it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Update, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.orm import Session

from worker.db.models import PollBatch, SunoTask
from worker.db.statements import run, run_scalars, table_of

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
_LEASE = update(table_of(PollBatch)).where(table_of(PollBatch).c.id == bindparam("row_id"))
_CLAIM_SEEN = (
    update(PollBatch)
    .where(PollBatch.id == bindparam("row_id"), PollBatch.claims == bindparam("claims_seen"))
    .returning(PollBatch.id)
)
_RENEW = _CLAIM_SEEN.where(PollBatch.leased_until > bindparam("now")).values(
    next_poll_at=bindparam("until"), leased_until=bindparam("until"), last_polled_at=bindparam("now")
)
_RELEASE = _CLAIM_SEEN.values(
    next_poll_at=bindparam("due"),
    leased_until=None,
    last_polled_at=bindparam("now"),
    alone=bindparam("is_alone"),
)
_DELETE_EMPTY = (
    delete(PollBatch).where(PollBatch.id == bindparam("row_id"), PollBatch.size == 0).returning(PollBatch.id)
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
    if changes:
        run(session, _LEASE, changes)


def renew_lease_seen(session: Session, *, lease: Lease, leased_until: datetime, now: datetime) -> bool:
    """Lengthen a lease that has not ended; False when it has, or another claim has come since.

    The slot of an ended lease may have been given to another batch: renewed, it would be one too many.
    """
    return _write_if_claim_seen(session, _RENEW, lease=lease, values={"until": leased_until, "now": now})


def release_lease_seen(
    session: Session, *, lease: Lease, next_poll_at: datetime, alone: bool = False, now: datetime
) -> bool:
    """End the lease and set the next due time; False when another claim has come since."""
    values = {"due": next_poll_at, "is_alone": alone, "now": now}
    return _write_if_claim_seen(session, _RELEASE, lease=lease, values=values)


def shrink(session: Session, *, left: Mapping[int, int]) -> None:
    """Take the tasks that left a batch off its size: how many, by the batch's id."""
    for batch_id, count in sorted(left.items()):
        statement = update(PollBatch).where(PollBatch.id == batch_id).values(size=PollBatch.size - count)
        run(session, statement)


def delete_empty(session: Session, *, batch_id: int) -> bool:
    """Delete the batch if no task is left in it; the foreign key is the last guard."""
    return run(session, _DELETE_EMPTY, {"row_id": batch_id}).first() is not None


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


def _write_if_claim_seen(
    session: Session, statement: Update, *, lease: Lease, values: Mapping[str, object]
) -> bool:
    seen = {"row_id": lease.batch_id, "claims_seen": lease.claims}
    return run(session, statement, {**seen, **values}).first() is not None
