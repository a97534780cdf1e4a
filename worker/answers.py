"""Write in one transaction what an answer of a gateway says of its batch, its tasks and the gateway itself.

An answer that comes after its lease has been taken over by another worker changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from worker.attribution import Polled
from worker.batches import ClaimedBatch
from worker.core.lifecycle import Limits, Seen, Status, Step, Unanswered, advance
from worker.core.wire import Good, Trouble
from worker.db import poll_batches
from worker.db.own_ends import ended_by_us
from worker.db.suno_tasks import Watched
from worker.health import Shift, log_shift, record_reply
from worker.oddities import Oddities
from worker.outbox import write_steps
from worker.release import Pace, keep_lease, move_guilty
from worker.told import Fact, Told, told

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of an answer: its tasks' steps, how many deliveries they owe, the gateway's health."""

    steps: Sequence[tuple[Watched, Step]]
    owed: int
    shift: Shift | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """An answer that changed nothing. `words`: (task_id, word) of tasks that we ended ourselves meanwhile."""

    words: Sequence[tuple[str, str]]


def write_answer(
    session: Session,
    batch: ClaimedBatch,
    polled: Polled,
    *,
    cooldown: timedelta,
    limits: Limits,
    pace: Pace,
    now: datetime,
) -> Written | Late:
    """Write it all, or nothing when the lease has been taken over."""
    if not keep_lease(session, batch, polled, pace=pace, now=now):
        return Late(words=_late_words(session, batch, polled))
    steps = _decide(batch, polled, limits=limits, now=now)
    owed = write_steps(session, steps=steps, now=now)
    shift = None
    if polled.is_trouble or isinstance(polled.reply, Good):
        name = batch.lease.gateway
        shift = record_reply(session, name=name, reply=polled.reply, base=cooldown, now=now)
    if polled.end is not None:
        move_guilty(session, batch, polled.end, pace=pace, now=now)
        poll_batches.delete_empty(session, batch_id=batch.lease.batch_id)
    return Written(steps=steps, owed=owed, shift=shift)


def _decide(
    batch: ClaimedBatch, polled: Polled, *, limits: Limits, now: datetime
) -> list[tuple[Watched, Step]]:
    observations = polled.reply.observations if isinstance(polled.reply, Good) else {}
    steps: list[tuple[Watched, Step]] = []
    for task_id in polled.task_ids:
        watched = batch.tasks[task_id]
        observation = observations.get(task_id, Unanswered())
        step = advance(watched.known, observation, now=now, limits=limits)
        if step.known != watched.known:
            steps.append((watched, step))
    return steps


def _late_words(session: Session, batch: ClaimedBatch, polled: Polled) -> list[tuple[str, str]]:
    """Return what a late answer says of tasks that we ended ourselves meanwhile: (task_id, word).

    They stay as they are: their receivers have been told.
    """
    if not isinstance(polled.reply, Good):
        return []
    words = {
        batch.tasks[task_id].id: (task_id, seen.upstream_status)
        for task_id in polled.task_ids
        if isinstance(seen := polled.reply.observations.get(task_id), Seen)
    }
    return [words[row_id] for row_id in sorted(ended_by_us(session, ids=list(words)))]


def log_answer(batch: ClaimedBatch, polled: Polled, written: Written | Late, *, oddities: Oddities) -> None:
    """Tell, after the commit, what an answer brought: a line for each event and each new kind of oddity."""
    where: dict[str, Fact] = {
        "gateway": batch.lease.gateway,
        "action": batch.lease.action,
        "batch": batch.lease.batch_id,
    }
    if isinstance(written, Late):
        logger.info(told("late_answer", "an answer came after its lease", **where))
        for task_id, word in written.words:
            words = f"we ended it, and now the gateway says {word!a}: it stays as it is"
            logger.warning(told("ended_before", words, **where, task_id=task_id))
        return
    if written.shift is not None:
        log_shift(written.shift)
    _log_guilty(batch, polled, where=where)
    if isinstance(polled.reply, Good):
        for oddity in oddities.untold(gateway=batch.lease.gateway, oddities=polled.reply.oddities):
            logger.warning(told("odd_answer", f"odd answer: {oddity}", **where))
    for watched, step in written.steps:
        if step.transition is not None:
            before, after = step.transition
            logger.info(_transition(watched.task_id, before, after, where=where))


def _transition(task_id: str, before: str, after: str, *, where: Mapping[str, Fact]) -> Told:
    words = f"{Status(before)} -> {Status(after)}"
    return told("transition", words, **where, task_id=task_id, status=Status(after))


def _log_guilty(batch: ClaimedBatch, polled: Polled, *, where: Mapping[str, Fact]) -> None:
    """Tell what a search found; an id that has long been on its own is not mentioned again."""
    end = polled.end
    if end is None or end.failed is None or batch.is_lone:
        return
    for task_id in end.guilty:
        words = f"fails also when asked alone; it is asked again, rarely: {end.failed.message}"
        logger.warning(told("fails_alone", words, **where, task_id=task_id))
    none_found = not (end.guilty or end.alone or polled.is_trouble)
    if none_found and end.failed.trouble in (Trouble.REFUSED, Trouble.TOO_LARGE):
        words = (
            f"refused {len(batch.tasks)} ids at once and none of them alone; "
            f"lower WORKER_GATEWAYS__{batch.lease.gateway.upper()}__BATCH_SIZE: {end.failed.message}"
        )
        logger.warning(told("batch_refused", words, **where))
