"""What the log tells of an answer: a line for each event, and for each new kind of oddity."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from worker.answers import Late, Written
from worker.attribution import Polled
from worker.batches import ClaimedBatch
from worker.core.lifecycle import Status
from worker.core.wire import Good, Trouble
from worker.health import log_shift
from worker.oddities import Oddities
from worker.told import Fact, Told, told

logger = logging.getLogger(__name__)


def log_answer(batch: ClaimedBatch, polled: Polled, written: Written | Late, *, oddities: Oddities) -> None:
    """Tell, after the commit, what an answer brought."""
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
