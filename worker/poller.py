"""Ask the gateways about pending Suno tasks: claim, ask, advance, record.

One claim is one poll batch; answers that come together are recorded together. The transition and the outbox
row that it owes are one transaction, so there is no moment in which a result exists and its webhook does not.
A bad answer is the gateway's trouble: it moves the gateway's next poll and no task. An answer that comes
after its lease has been taken over by another worker changes nothing.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import timedelta

from worker.answers import Answer
from worker.asking import Fetches, ask
from worker.attribution import Polled
from worker.batches import ClaimedBatch, PolledGateway, claim_batches
from worker.core.lifecycle import Limits
from worker.db.clock import read_now
from worker.db.persist import describe, is_passing
from worker.db.session import Sessions
from worker.looks import Claimed
from worker.recording import Recorder
from worker.release import Pace
from worker.stream import Recorded, Stream, Submit

logger = logging.getLogger(__name__)


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
        self._poll_interval = poll_interval
        self._client = client
        self._rotation = 0
        self._recorder = Recorder(
            sessions=sessions,
            paces={
                name: Pace(interval=poll_interval, lease=gateway.lease, cooldown=gateway.cooldown)
                for name, gateway in polled.items()
            },
            limits=limits,
            ring_deliver=ring_deliver,
        )
        self._stop = threading.Event()
        slots = sum(gateway.concurrency for gateway in polled.values())
        self._stream = Stream(name="suno.poll", slots=slots, work=self, submit=submit)

    def wake(self) -> None:
        """Have a run that waits look up at once, at what is due and whether it is to stop."""
        self._stream.ring()

    def expects_answers(self) -> bool:
        """Whether an answer may come to this process before Beat's next tick."""
        return self._stream.expects_outcomes

    def run(
        self,
        *,
        stop: threading.Event,
        ring_successor: Callable[[], None],
        pass_on: Callable[[], None] = lambda: None,
    ) -> dict[str, object]:
        """Poll what is due; return counts, or `{"joined": True}` when this process polls already.

        `pass_on` is called if the run that it joins cannot claim now. What a claim leaves, nobody else may
        take: a process has slots for all that the gateways' limits, which hold over all workers, let through.
        """
        self._stop = stop
        if not self._stream.run(stop=stop, ring_successor=ring_successor, pass_on=pass_on):
            return {"joined": True}
        return asdict(self._recorder.take_counts())

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

    def record(self, finished: Sequence[Answer]) -> Recorded:
        """Advance the tasks of the answers and write what changed."""
        self._recorder.record(finished, stop=self._stop)
        return Recorded()


def _shuffled(ids: Sequence[str]) -> Sequence[str]:
    return random.sample(ids, len(ids))
