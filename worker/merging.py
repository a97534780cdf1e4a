"""Keep requests full: pack due poll batches together and fill them with thin ones that are due soon.

Batches thin out as their tasks end, and every enqueue makes a new one. So a claim packs what is due, then
adds thin batches of the same gateway and action that are due within half of their own interval. Tasks move,
and emptied batches go, inside the claim's transaction, so no task is ever outside all batches.

The record of an older claim stays fenced. A batch under a live lease gives and takes nothing; one whose lease
has ended is due, and is either leased anew, which counts its `claims` on, or emptied, which deletes it. So
that record finds its claim no more and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from worker.core.packing import fill, pack, thin_below
from worker.core.schedule import poll_interval
from worker.core.shares import Batch, Packing, Request, settle
from worker.db import claimable, poll_batches
from worker.db.claimable import Claimable

ROWS = 500  # batches that one look-up reads, so also how many single tasks may move in a transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """Locked batches, each one request. `more`: other due batches were left for the next claim."""

    batches: list[Claimable]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Merging:
    """What a merge needs to know of a gateway, whose row the caller holds."""

    gateway: str
    batch_size: int
    interval: timedelta  # between two polls of the youngest batches
    now: datetime


def merge_due(session: Session, *, merging: Merging, most: int) -> Merged:
    """Make at most `most` requests of what is due, as full as can be; the caller leases them."""
    size = merging.batch_size
    room = 2 * most * size  # the longest due may not fit together
    # So many fill the requests twice, also where they are half full; all others are read only if they do not.
    # Fewer may come although more are due, as what a late record holds is skipped: half of them tell it too.
    few = 4 * most
    due = claimable.lock_due(session, gateway=merging.gateway, room=room, rows=few, now=merging.now)
    if len(due) > few // 2 and sum(batch.size for batch in due) < room:
        due = claimable.lock_due(session, gateway=merging.gateway, room=room, rows=ROWS, now=merging.now)
    draft = pack(_seen(due, merging=merging), batch_size=size, most=most)
    soon = _lock_soon(session, requests=draft.requests, merging=merging)
    donors = [*draft.left, *_seen(soon, merging=merging)]
    packing = settle(fill(draft.requests, donors, batch_size=size))
    _move(session, packing=packing)
    locked = {batch.id: batch for batch in [*due, *soon]}
    more = len(packing.asked) == most or bool(draft.left) or len(due) > ROWS // 2
    return Merged(batches=[locked[batch_id] for batch_id in packing.asked], more=more)


def _seen(batches: Iterable[Claimable], *, merging: Merging) -> list[Batch]:
    return [
        Batch(
            id=batch.id,
            action=batch.action,
            size=batch.size,
            interval=poll_interval(age=merging.now - batch.youngest_at, interval=merging.interval),
            alone=batch.doubted,
        )
        for batch in batches
    ]


def _lock_soon(session: Session, *, requests: Sequence[Request], merging: Merging) -> list[Claimable]:
    """Lock what `requests` may be filled with; asks nothing when all are full."""
    room: dict[str, int] = {}
    for request in requests:
        if request.size < merging.batch_size and not request.alone:
            room[request.action] = room.get(request.action, 0) + merging.batch_size - request.size
    if not room:
        return []
    widest = max(merging.batch_size - request.size for request in requests if not request.alone)
    return claimable.lock_thin(
        session,
        gateway=merging.gateway,
        actions=room,
        below=min(thin_below(batch_size=merging.batch_size), widest + 1),
        room=2 * max(room.values()),  # some of them will not fit
        rows=ROWS,
        interval=merging.interval,
        now=merging.now,
    )


def _move(session: Session, *, packing: Packing) -> None:
    """Move parts of batches first, then all that are left; then delete what is empty."""
    whole: dict[int, list[int]] = {}
    for move in packing.moves:
        if move.count is None:
            whole.setdefault(move.target, []).append(move.source)
        else:
            poll_batches.move(session, sources=[move.source], target=move.target, count=move.count)
    for target, sources in whole.items():
        poll_batches.move(session, sources=sources, target=target)
    poll_batches.delete_emptied(session, batch_ids=packing.emptied)
