"""Lengthen or end a poll batch's lease after an answer, and decide when the batch is asked again.

A batch is due again after its cadence. After trouble of the gateway it stays due, for it is the gateway that
waits; that it was due at the moment of its last answer is also what tells the next claim of the trouble. A
*guilty* id, which fails even when it is asked alone, gets a batch of its own, which is asked as rarely as the
oldest ones and never merged, until the gateway answers or the task's time is over.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from worker.attribution import End, Polled
from worker.batches import ClaimedBatch
from worker.core.schedule import next_poll_wait, refused_poll_wait
from worker.core.wire import Bad, Trouble
from worker.db.poll_batches import Answered, Held
from worker.db.refused import move_apart

AT_ONCE = timedelta.resolution  # not 0: only trouble leaves a batch due at the moment of its answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a gateway is asked.

    `interval` is that of a young batch, `lease` how long one holds after a record, `cooldown` the first pause
    after a bad answer.
    """

    interval: timedelta
    lease: timedelta
    cooldown: timedelta


def keep_lease(
    batch: ClaimedBatch, polled: Polled, *, held: Held | None, pace: Pace, now: datetime
) -> Answered | None:
    """Lengthen the lease, or end it with the last answer; None when it has been taken over.

    A lease that has ended is not lengthened: its slot may have been given to another batch, and it would be
    one too many.
    """
    if held is None or held.claims != batch.lease.claims:
        return None
    if polled.end is None:
        if held.leased_until is None or held.leased_until <= now:
            return None
        until = now + pace.lease
        return Answered(lease=batch.lease, next_poll_at=until, leased_until=until, alone=held.alone)
    wait = _wait(batch, polled, polled.end, pace=pace, now=now)
    alone = polled.end.alone or _is_guilty(batch, polled.end)
    return Answered(lease=batch.lease, next_poll_at=now + wait, leased_until=None, alone=alone)


def move_guilty(session: Session, batch: ClaimedBatch, end: End, *, pace: Pace, now: datetime) -> None:
    """Give each guilty task a batch of its own; the only one of its batch has that already."""
    if _is_guilty(batch, end):
        return
    for task_id in end.guilty:
        wait = refused_poll_wait(interval=pace.interval, jitter=_jitter())
        move_apart(session, lease=batch.lease, watched=batch.tasks[task_id], next_poll_at=now + wait)


def _wait(batch: ClaimedBatch, polled: Polled, end: End, *, pace: Pace, now: datetime) -> timedelta:
    is_bad = isinstance(polled.reply, Bad)
    if _is_guilty(batch, end) or (is_bad and batch.is_lone):
        return refused_poll_wait(interval=pace.interval, jitter=_jitter())
    if polled.is_trouble and isinstance(polled.reply, Bad) and polled.reply.trouble is not Trouble.REFUSED:
        return timedelta(0)
    age = now - batch.lease.youngest_at
    return max(next_poll_wait(age=age, interval=pace.interval, jitter=_jitter()), AT_ONCE)


def _is_guilty(batch: ClaimedBatch, end: End) -> bool:
    """Whether the batch is one task, and it is guilty."""
    return len(batch.tasks) == 1 and end.guilty != ()


def _jitter() -> float:
    return random.random()  # noqa: S311 - spreads load
