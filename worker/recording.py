"""Record what gateways answered: some answers in a transaction, or each in its own where that fails.

A transaction costs as much for one answer that brought nothing new as for four. What fails is one answer's
trouble or the database's; alone, each is kept out by its own trouble only, and waits for a database that is
away.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.answer_lines import log_answer
from worker.answers import Answer, Late, Written, write_answers
from worker.attribution import Polled
from worker.batches import LEASE_MARGIN
from worker.core.lifecycle import TERMINAL, Limits, Seen
from worker.core.wire import Good
from worker.db.clock import read_now
from worker.db.persist import DATABASE_TROUBLE, Patience, describe, persist
from worker.db.session import Sessions
from worker.holding import monotonic
from worker.oddities import Oddities
from worker.release import Pace

TOGETHER = 400  # tasks whose answers are recorded in one transaction
TEXT_TOGETHER = 4 * 2**20  # characters of their results: while they are written, each takes up to ten bytes

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What a run did, for Flower."""

    polled: int = 0
    transitions: int = 0
    finished: int = 0
    troubles: int = 0
    odd: int = 0  # parts of good answers that could not be understood, at most ten of each answer
    lost: int = 0

    def add(self, polled: Polled, written: Written) -> None:
        """Count one answer."""
        self.polled += len(polled.task_ids)
        self.troubles += polled.is_trouble
        self.odd += len(polled.reply.oddities) if isinstance(polled.reply, Good) else 0
        self.transitions += sum(step.transition is not None for _, step in written.steps)
        self.finished += sum(step.known.status in TERMINAL for _, step in written.steps)


class Recorder:
    """Writes answers, tells of them and counts them."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        paces: Mapping[str, Pace],
        limits: Limits,
        ring_deliver: Callable[[], None],
    ) -> None:
        """Make a recorder; `ring_deliver` is called after a commit that wrote to the outbox."""
        self._sessions = sessions
        self._paces = paces
        self._limits = limits
        self._ring_deliver = ring_deliver
        self._oddities = Oddities()
        self._counts = Counts()

    def take_counts(self) -> Counts:
        """Return what was counted, and begin anew."""
        counts, self._counts = self._counts, Counts()
        return counts

    def record(self, finished: Sequence[Answer], *, stop: threading.Event) -> None:
        """Advance the tasks of each answer and write what changed, some answers to a transaction.

        When such a transaction fails, each of them gets its own: what cannot be stored keeps only itself out.
        """
        patience = Patience.of(LEASE_MARGIN, stop=stop)
        for group in _grouped(finished):
            owed = 0
            try:
                owed = self._record_group(group)
            except Exception as error:  # noqa: BLE001 - alone, each is told of by its own error
                logger.info(
                    "the record of %d answer(s) failed; each is tried by itself: %s",
                    len(group),
                    describe(error),
                )
                for answer in group:
                    owed += self._record_alone(answer, patience=patience)
            if owed:
                self._ring_deliver()

    def _record_alone(self, answer: Answer, *, patience: Patience) -> int:
        """Write one answer, and wait for a database that is away; return how many deliveries it owes."""
        batch, _ = answer
        what = f"the record of poll batch {batch.lease.batch_id}"
        try:
            return persist(lambda: self._record_group([answer]), patience=patience, what=what)
        except DATABASE_TROUBLE as error:
            # The lease ends by itself and the batch is asked again: the gateway still has the answer.
            logger.error(  # noqa: TRY400 - a traceback of an absent database says nothing more
                "poll batch %s was not recorded: %s", batch.lease.batch_id, describe(error)
            )
        except Exception:  # a fault of ours, which must not end the run for all others
            logger.exception("poll batch %s was not recorded", batch.lease.batch_id)
        batch.holding.stop()
        self._counts.lost += 1
        return 0

    def _record_group(self, answers: Sequence[Answer]) -> int:
        since = monotonic()
        with self._sessions.begin() as session:
            now = read_now(session)
            outcome = write_answers(session, answers, paces=self._paces, limits=self._limits, now=now)
        for (batch, polled), written in zip(answers, outcome.written, strict=True):
            log_answer(batch, polled, written, oddities=self._oddities)
            if isinstance(written, Late):
                batch.holding.stop()
                self._counts.lost += 1
                continue
            if polled.end is None:
                batch.holding.lengthen(since=since, lasts=self._paces[batch.lease.gateway].lease)
            self._counts.add(polled, written)
        return outcome.owed


def _grouped(finished: Sequence[Answer]) -> Iterator[Sequence[Answer]]:
    """Cut into groups of at most 400 tasks and 4 MiB, or one answer: transactions of milliseconds."""
    group: list[Answer] = []
    tasks = text = 0
    for answer in finished:
        size, length = max(1, len(answer[1].task_ids)), _length(answer[1])
        if group and (tasks + size > TOGETHER or text + length > TEXT_TOGETHER):
            yield group
            group, tasks, text = [], 0, 0
        group.append(answer)
        tasks += size
        text += length
    if group:
        yield group


def _length(polled: Polled) -> int:
    """Return how many characters of results an answer brings."""
    if not isinstance(polled.reply, Good):
        return 0
    said = polled.reply.observations.values()
    return sum(len(one.data) for one in said if isinstance(one, Seen) and one.data)
