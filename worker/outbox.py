"""Write what became of Suno tasks, and in the same transaction what their endpoints are owed.

This is the one place where a result comes to exist, so it is the one place that makes deliveries for new
results: there is no moment in which one is there without the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from worker.core.lifecycle import TERMINAL, Step
from worker.core.webhook import origin_of_stored
from worker.db import deliveries, poll_batches, suno_tasks
from worker.db.identity import new_delivery_id
from worker.db.suno_tasks import Watched


def write_steps(session: Session, *, steps: Sequence[tuple[Watched, Step]], now: datetime) -> int:
    """Write the steps whose tasks still stand where they were seen; return how many deliveries they owe."""
    if not steps:
        return 0
    held = suno_tasks.hold(session, ids=[watched.id for watched, _ in steps])
    valid = [
        (watched, step)
        for watched, step in steps
        if watched.id in held and held[watched.id].status == watched.known.status
    ]
    suno_tasks.write_if_status_seen(session, steps=valid, now=now)
    ended = Counter(watched.batch_id for watched, step in valid if step.known.status in TERMINAL)
    poll_batches.shrink(session, left=ended)
    moved = [
        (watched.id, step.transition[0].value, step.transition[1].value)
        for watched, step in valid
        if step.transition is not None
    ]
    suno_tasks.add_transitions(session, rows=moved, now=now)
    owed = [
        deliveries.Owed(
            id=new_delivery_id(now=now),
            suno_task_id=watched.id,
            notify_hook=hook,
            origin=origin_of_stored(hook),
        )
        for watched, step in valid
        if step.known.status in TERMINAL and (hook := held[watched.id].notify_hook) is not None
    ]
    deliveries.add(session, owed=owed, now=now)
    return len(owed)
