"""Ask the gateways about pending Suno tasks: claim, ask, advance, record.

One claim is one poll batch, one answer is one record. The transition and the outbox row that it owes are one
transaction, so there is no moment in which a result exists and its webhook does not. A bad answer is the
gateway's trouble: it moves the gateway's next poll and no task. An answer that comes after its lease has been
taken over by another worker changes nothing.

Left for a later room: a batch that the gateway refuses because of one poisonous id is not bisected yet; it is
retried as a whole while the gateway cools down.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlalchemy.orm import Session

from worker.batches import LEASE_MARGIN, ClaimedBatch, PolledGateway, claim_batches
from worker.clients.gateway import GatewayTarget
from worker.core.lifecycle import TERMINAL, Action, Limits, Status, Step, Unanswered, advance
from worker.core.schedule import next_poll_wait
from worker.core.wire import Bad, Good, Reply
from worker.db import poll_batches
from worker.db.clock import read_now
from worker.db.persist import DATABASE_TROUBLE, Patience, describe, is_passing, persist
from worker.db.session import Sessions
from worker.db.suno_tasks import Watched
from worker.health import record_reply
from worker.outbox import write_steps
from worker.stream import Claimed, Stream, Submit

logger = logging.getLogger(__name__)


class Fetches(Protocol):
    """The gateway client's one verb."""

    def fetch(
        self, target: GatewayTarget, *, action: Action, task_ids: Sequence[str]
    ) -> AsyncIterator[tuple[tuple[str, ...], Reply]]:
        """Ask about `task_ids`; yield each answer with the ids it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """One answer of a gateway. `last`: the batch has no further request, its lease can end."""

    task_ids: tuple[str, ...]
    reply: Reply
    last: bool


@dataclass(slots=True)
class Counts:
    """What a run did, for Flower."""

    polled: int = 0
    transitions: int = 0
    finished: int = 0
    troubles: int = 0
    lost: int = 0


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
        self._counts = Counts()
        self._stop = threading.Event()
        slots = sum(gateway.concurrency for gateway in polled.values())
        self._stream = Stream(name="suno.poll", slots=slots, work=self, submit=submit)

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
            except DATABASE_TROUBLE as error:
                if not is_passing(error):
                    raise
                logger.warning("the database is away; nothing was claimed: %s", describe(error))
                break
            taken += claimed.items
            more = more or claimed.more
        return Claimed(items=taken, more=more)

    async def call(self, item: ClaimedBatch) -> AsyncIterator[Polled]:
        """Ask the gateway, in requests of at most its batch size; stop at the first bad answer."""
        gateway = self._polled[item.lease.gateway]
        ids = list(item.tasks)
        if not ids:
            yield Polled(task_ids=(), reply=Good(observations={}), last=True)
        answered = 0
        action = Action(item.lease.action)
        for start in range(0, len(ids), gateway.batch_size):
            asked = ids[start : start + gateway.batch_size]
            async for task_ids, reply in self._client.fetch(gateway.target, action=action, task_ids=asked):
                answered += len(task_ids)
                last = answered >= len(ids) or isinstance(reply, Bad)
                yield Polled(task_ids=task_ids, reply=reply, last=last)
                if last:
                    return

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
                self._counts.lost += 1
        if owed:
            self._ring_deliver()

    def _record_one(self, batch: ClaimedBatch, polled: Polled) -> int:
        with self._sessions.begin() as session:
            now = read_now(session)
            if not self._keep_lease(session, batch=batch, polled=polled, now=now):
                self._counts.lost += 1
                logger.info("poll batch %s: an answer came after its lease", batch.lease.batch_id)
                return 0
            steps = self._decide(batch, polled, now=now)
            owed = write_steps(session, steps=steps, now=now)
            name = batch.lease.gateway
            record_reply(session, name=name, reply=polled.reply, base=self._polled[name].cooldown, now=now)
            if polled.last:
                poll_batches.delete_empty(session, batch_id=batch.lease.batch_id)
        self._count(polled, steps)
        _log(batch, polled, steps)
        return owed

    def _decide(self, batch: ClaimedBatch, polled: Polled, *, now: datetime) -> list[tuple[Watched, Step]]:
        observations = polled.reply.observations if isinstance(polled.reply, Good) else {}
        steps: list[tuple[Watched, Step]] = []
        for task_id in polled.task_ids:
            watched = batch.tasks[task_id]
            observation = observations.get(task_id, Unanswered())
            step = advance(watched.known, observation, now=now, limits=self._limits)
            if step.known != watched.known:
                steps.append((watched, step))
        return steps

    def _keep_lease(self, session: Session, *, batch: ClaimedBatch, polled: Polled, now: datetime) -> bool:
        lease = batch.lease
        gateway = self._polled[lease.gateway]
        if not polled.last:
            until = now + gateway.target.timeout + LEASE_MARGIN
            return poll_batches.renew_lease_seen(session, lease=lease, leased_until=until, now=now)
        age = now - lease.youngest_at
        wait = next_poll_wait(age=age, interval=self._poll_interval, jitter=random.random())  # noqa: S311 - spreads load
        # After a bad answer the batch stays due: it is the gateway that waits.
        next_poll_at = now if isinstance(polled.reply, Bad) else now + wait
        return poll_batches.release_lease_seen(session, lease=lease, next_poll_at=next_poll_at, now=now)

    def _count(self, polled: Polled, steps: Sequence[tuple[Watched, Step]]) -> None:
        self._counts.polled += len(polled.task_ids)
        self._counts.troubles += isinstance(polled.reply, Bad)
        self._counts.transitions += sum(step.transition is not None for _, step in steps)
        self._counts.finished += sum(step.known.status in TERMINAL for _, step in steps)


def _log(batch: ClaimedBatch, polled: Polled, steps: Sequence[tuple[Watched, Step]]) -> None:
    where = f"gateway={batch.lease.gateway} action={batch.lease.action} batch={batch.lease.batch_id}"
    if isinstance(polled.reply, Bad):
        logger.warning(
            "%s trouble=%s tasks stay as they are: %s", where, polled.reply.trouble, polled.reply.message
        )
        return
    for oddity in polled.reply.oddities:
        logger.warning("%s odd answer: %s", where, oddity)
    for watched, step in steps:
        if step.transition is not None:
            before, after = step.transition
            logger.info("%s task_id=%s %s -> %s", where, ascii(watched.task_id), before, Status(after))
