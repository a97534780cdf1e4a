"""Move a Suno task that its gateway refuses out of its poll batch: the others are asked without it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from worker.db import poll_batches
from worker.db.models import SunoTask
from worker.db.poll_batches import Lease
from worker.db.statements import run
from worker.db.suno_tasks import Watched


def move_apart(session: Session, *, lease: Lease, watched: Watched, next_poll_at: datetime) -> bool:
    """Give the task a poll batch of its own; False when it is no longer in the batch of the lease.

    Only the holder of a lease may call it, in the transaction that has written the batch's row: that row is
    locked, so nobody else moves its tasks meanwhile.
    """
    batch_id = poll_batches.add(
        session,
        gateway=lease.gateway,
        action=lease.action,
        next_poll_at=next_poll_at,
        size=1,
        youngest_at=watched.known.enqueued_at,
        alone=True,
    )
    moved = (
        update(SunoTask)
        .where(SunoTask.id == watched.id, SunoTask.poll_batch_id == lease.batch_id)
        .values(poll_batch_id=batch_id)
        .returning(SunoTask.id)
    )
    if run(session, moved).first() is None:
        poll_batches.delete_emptied(session, batch_ids=[batch_id])
        return False
    poll_batches.shrink(session, left={lease.batch_id: 1})
    return True
