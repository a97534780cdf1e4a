"""Ask the gateways about pending Suno tasks: claim, ask, advance, record.

One claim is one poll batch, one answer is one record. The transition and the outbox row that it owes are one
transaction, so there is no moment in which a result exists and its webhook does not. A bad answer is the
gateway's trouble: it moves the gateway's next poll and no task. An answer that comes after its lease has been
taken over by another worker changes nothing.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

from worker.answers import Late, Written, log_answer, write_answer
from worker.asking import Fetches, ask
from worker.attribution import Polled
from worker.batches import LEASE_MARGIN, ClaimedBatch, PolledGateway, claim_batches
from worker.core.lifecycle import TERMINAL, Limits
from worker.core.wire import Good
from worker.db.clock import read_now
from worker.db.persist import DATABASE_TROUBLE, Patience, describe, is_passing, persist
from worker.db.session import Sessions
from worker.holding import monotonic
from worker.looks import Claimed
from worker.oddities import Oddities
from worker.release import Pace
from worker.stream import Stream, Submit

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


class Poller:
    """The poll stream of one process."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        polled: Mapping[str, PolledGateway],
        limits: Limits,
        poll_interval: timedelta,
        client: Fetches,
        submit: Submit,
        ring_deliver: Callable[[], None],
    ) -> None:
        """Make a poller; `ring_deliver` is called after a commit that wrote to the outbox."""
        self._sessions = sessions
        self._polled = polled
        self._limits = limits
        self._poll_interval = poll_interval
        self._client = client
        self._ring_deliver = ring_deliver
        self._rotation = 0
        self._oddities = Oddities()
        self._counts = Counts()
        self._stop = threading.Event()
        slots = sum(gateway.concurrency for gateway in polled.values())
        self._stream = Stream(name="suno.poll", slots=slots, work=self, submit=submit)

    def wake(self) -> None:
        """Have a run that waits look up at once, at what is due and whether it is to stop."""
        self._stream.ring()

    def expects_answers(self) -> bool:
        """Whether an answer may come to this process before Beat's next tick."""
        return self._stream.expects_outcomes

    def run(self, *, stop: threading.Event, ring_successor: Callable[[], None]) -> dict[str, object]:
        """Poll what is due; return counts, or `{"joined": True}` when this process polls already."""
        self._stop = stop
        if not self._stream.run(stop=stop, ring_successor=ring_successor):
            return {"joined": True}
        counts, self._counts = self._counts, Counts()
        return asdict(counts)

    def claim(self, *, free: int) -> Claimed[ClaimedBatch]:
        """Take due batches of the gateways in rotation, within each one's limit over all workers."""
        taken: list[ClaimedBatch] = []
        more = False
        waits: list[timedelta] = []
        names = sorted(self._polled)
        self._rotation += 1
        for offset in range(len(names)):
            if len(taken) >= free:
                return Claimed(items=taken, more=True)
            name = names[(self._rotation + offset) % len(names)]
            try:
                with self._sessions.begin() as session:
                    claimed = claim_batches(
                        session,
                        gateway=self._polled[name],
                        free=free - len(taken),
                        interval=self._poll_interval,
                        now=read_now(session),
                    )
            except Exception as error:
                if is_passing(error):
                    logger.warning("the database is away; nothing was claimed: %s", describe(error))
                elif taken:  # Those are leased, so they are asked; the error is met again by the next claim.
                    logger.exception("gateway=%s: nothing was claimed", name)
                else:
                    raise
                return Claimed(items=taken, more=more)
            taken += claimed.items
            more = more or claimed.more
            waits += [claimed.due_in] if claimed.due_in is not None else []
        return Claimed(items=taken, more=more, due_in=min(waits, default=None))

    def call(self, item: ClaimedBatch) -> AsyncIterator[Polled]:
        """Ask the gateway, one request after the other."""
        gateway = self._polled[item.lease.gateway]
        return ask(item, gateway=gateway, client=self._client, shuffle=_shuffled)

    def record(self, finished: Sequence[tuple[ClaimedBatch, Polled]]) -> None:
        """Advance the tasks of each answer and write what changed, each answer in its own transaction."""
        owed = 0
        patience = Patience.of(LEASE_MARGIN, stop=self._stop)
        for batch, polled in finished:
            try:
                owed += persist(
                    lambda batch=batch, polled=polled: self._record_one(batch, polled),  # type: ignore[misc]
                    patience=patience,
                    what=f"the record of poll batch {batch.lease.batch_id}",
                )
            except DATABASE_TROUBLE as error:
                # The lease ends by itself and the batch is asked again: the gateway still has the answer.
                logger.error(  # noqa: TRY400 - a traceback of an absent database says nothing more
                    "poll batch %s was not recorded: %s", batch.lease.batch_id, describe(error)
                )
                batch.holding.stop()
                self._counts.lost += 1
        if owed:
            self._ring_deliver()

    def _record_one(self, batch: ClaimedBatch, polled: Polled) -> int:
        gateway = self._polled[batch.lease.gateway]
        pace = Pace(interval=self._poll_interval, lease=gateway.lease)
        since = monotonic()
        with self._sessions.begin() as session:
            now = read_now(session)
            written = write_answer(
                session, batch, polled, cooldown=gateway.cooldown, limits=self._limits, pace=pace, now=now
            )
        log_answer(batch, polled, written, oddities=self._oddities)
        if isinstance(written, Late):
            batch.holding.stop()
            self._counts.lost += 1
            return 0
        if polled.end is None:
            batch.holding.lengthen(since=since, lasts=gateway.lease)
        self._counts.add(polled, written)
        return written.owed


def _shuffled(ids: Sequence[str]) -> Sequence[str]:
    return random.sample(ids, len(ids))
