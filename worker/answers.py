"""Write in one transaction what answers of gateways say of their batches, their tasks and the gateways.

An answer that comes after its lease has been taken over by another worker changes nothing; the others are
written. Rows are locked in one order for all: batches, tasks, origins, gateways, each kind by its keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from worker.attribution import Polled
from worker.batches import ClaimedBatch
from worker.core.lifecycle import TERMINAL, Limits, Seen, Step, Unanswered, advance
from worker.core.wire import Good
from worker.db import poll_batches
from worker.db.own_ends import ended_by_us
from worker.db.poll_batches import Held
from worker.db.suno_tasks import Watched
from worker.health import Shift, record_reply
from worker.outbox import write_steps
from worker.release import Pace, keep_lease, move_guilty

Answer = tuple[ClaimedBatch, Polled]


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of an answer: its tasks' steps, the gateway's health."""

    steps: Sequence[tuple[Watched, Step]]
    shift: Shift | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """An answer that changed nothing. `words`: (task_id, word) of tasks that we ended ourselves meanwhile."""

    words: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of each answer, in their order, and how many deliveries they owe."""

    written: Sequence[Written | Late]
    owed: int


def write_answers(
    session: Session, answers: Sequence[Answer], *, paces: Mapping[str, Pace], limits: Limits, now: datetime
) -> Outcome:
    """Write all that each says, or nothing of one whose lease has been taken over."""
    held = poll_batches.hold(session, ids={batch.lease.batch_id for batch, _ in answers})
    answered = [
        keep_lease(
            batch, polled, held=held.get(batch.lease.batch_id), pace=paces[batch.lease.gateway], now=now
        )
        for batch, polled in answers
    ]
    poll_batches.write_if_claim_seen(session, answered=[one for one in answered if one is not None], now=now)
    in_time = {at: answers[at] for at, one in enumerate(answered) if one is not None}
    steps = {at: _decide(*answer, limits=limits, now=now) for at, answer in in_time.items()}
    owed = write_steps(session, steps=[step for some in steps.values() for step in some], now=now)
    shifts = _write_health(session, in_time, paces=paces, now=now)
    for batch, polled in in_time.values():
        if polled.end is not None:
            move_guilty(session, batch, polled.end, pace=paces[batch.lease.gateway], now=now)
    poll_batches.delete_empty(session, batch_ids=_thinned(in_time.values(), held=held, steps=steps.values()))
    return Outcome(
        written=[
            Written(steps=steps[at], shift=shifts.get(at))
            if at in in_time
            else Late(words=_late_words(session, *answers[at]))
            for at in range(len(answers))
        ],
        owed=owed,
    )


def _write_health(
    session: Session, answers: Mapping[int, Answer], *, paces: Mapping[str, Pace], now: datetime
) -> dict[int, Shift | None]:
    """Note how each gateway is; a good answer right after another good one says nothing new."""
    shifts: dict[int, Shift | None] = {}
    was_good: dict[str, bool] = {}
    for at, (batch, polled) in sorted(answers.items(), key=lambda one: one[1][0].lease.gateway):
        name, is_good = batch.lease.gateway, isinstance(polled.reply, Good)
        if (polled.is_trouble or is_good) and not (is_good and was_good.get(name)):
            cooldown = paces[name].cooldown
            shifts[at] = record_reply(session, name=name, reply=polled.reply, base=cooldown, now=now)
            was_good[name] = is_good
    return shifts


def _thinned(
    answers: Iterable[Answer], *, held: Mapping[int, Held], steps: Iterable[Sequence[tuple[Watched, Step]]]
) -> set[int]:
    """Return the batches whose turn has ended and that may be empty; nearly all have the tasks they had."""
    left = {watched.batch_id for some in steps for watched, step in some if step.known.status in TERMINAL}
    return {
        batch.lease.batch_id
        for batch, polled in answers
        if polled.end is not None
        and (batch.lease.batch_id in left or polled.end.guilty or not held[batch.lease.batch_id].size)
    }


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
