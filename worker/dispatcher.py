"""POST finished results to their endpoints: claim, post, judge, record.

One claim is one delivery, one outcome is one attempt row. Between the receiver's 2xx and our record lies a
moment in which a crash makes us send again: that is what *at least once* means, and why every attempt of a
delivery carries the same `webhook-id`. An outcome that comes after its lease has been taken over still gets
its attempt row; it changes the delivery only if it was a 2xx.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Protocol

from worker.attempts import enter
from worker.clients.endpoint import Post
from worker.clients.exchange import Exchange
from worker.core.verdicts import PostOutcome, Verdict, judge
from worker.core.webhook import encode_body, headers
from worker.db import deliveries
from worker.db.clock import read_now
from worker.db.deliveries import Held, Lease
from worker.db.persist import DATABASE_TROUBLE, Patience, describe, is_passing, persist
from worker.db.session import Sessions
from worker.health import log_breakers, record_outcomes
from worker.looks import Claimed
from worker.stream import Recorded, Stream, Submit
from worker.tally import Tally
from worker.turns import Terms, claim_deliveries
from worker.version import __version__

LEASE_MARGIN = timedelta(seconds=45)  # beyond the POST's own deadline: time to record
SLOTS = 1_024  # POSTs in flight in one process
RESERVE = 256  # of them for origins whose last word was an answer

logger = logging.getLogger(__name__)


class Posts(Protocol):
    """The endpoint client's one verb."""

    async def post(self, post: Post) -> Exchange:
        """Send `post` and return what came of it; raises nothing."""


class Dispatcher:
    """The delivery stream of one process."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        secrets: Callable[[str], Sequence[bytes]],
        retry_schedule: tuple[timedelta, ...],
        timeout: timedelta,
        origin_concurrency: int,
        client: Posts,
        submit: Submit,
    ) -> None:
        """Make a dispatcher; `secrets` gives the signing secrets for a gateway's name, newest first."""
        self._sessions = sessions
        self._secrets = secrets
        self._retry_schedule = retry_schedule
        self._lease = timeout + LEASE_MARGIN
        self._origin_concurrency = origin_concurrency
        self._client = client
        self._tally = Tally()
        self._stop = threading.Event()
        # Origins that had more due than their limit let through when they were last seen. They sleep until a
        # POST of theirs is recorded; the look after it may miss them, for another process was first. Only
        # the stream's runner touches it.
        self._held_back: set[str] = set()
        self._stream = Stream(name="suno.deliver", slots=SLOTS, work=self, submit=submit)

    def wake(self) -> bool:
        """Have a run that is under way in this process look at once at what is due; False when none can.

        With nothing but the reserve free it looks too, and takes nothing of receivers that have not answered
        lately. Another process that is idle then hears of those by the next message, within a second.
        """
        return self._stream.ring()

    def run(
        self,
        *,
        stop: threading.Event,
        ring_successor: Callable[[], None],
        pass_on: Callable[[], None] = lambda: None,
        awaited: Callable[[], bool] = lambda: False,
    ) -> dict[str, object]:
        """Deliver what is due; return counts, or `{"joined": True}` when this process delivers already.

        `pass_on` is called if the run that it joins has no slot for all that is due, or is held up. While
        results are `awaited`, a run stays to be woken.
        """
        self._stop = stop
        if not self._stream.run(stop=stop, ring_successor=ring_successor, pass_on=pass_on, awaited=awaited):
            return {"joined": True}
        return asdict(self._tally.take_counts())

    def claim(self, *, free: int) -> Claimed[Lease]:
        """Take due deliveries; their origins take turns."""
        chance = random.random()  # noqa: S311 - spreads load
        most = self._origin_concurrency
        terms = Terms(lease=self._lease, most=most, reserve=RESERVE, chance=chance)
        try:
            with self._sessions.begin() as session:
                claimed = claim_deliveries(session, free=free, terms=terms)
        except DATABASE_TROUBLE as error:
            if not is_passing(error):
                raise
            logger.warning("the database is away; nothing was claimed: %s", describe(error))
            return Claimed(items=[], more=False, leaves_some=True)  # another process may still reach it
        if free == SLOTS:  # nothing is in flight here, so no record of ours can let anything through
            self._held_back.clear()
        self._held_back.difference_update(claimed.held_back)
        self._held_back.update(origin for origin, is_held_back in claimed.held_back.items() if is_held_back)
        return claimed

    async def call(self, item: Lease) -> AsyncIterator[Exchange]:
        """Sign and POST."""
        yield await self._client.post(self._post(item))

    def _post(self, item: Lease) -> Post:
        body = encode_body(item.result)
        signed = headers(
            delivery_id=item.id,
            attempt=item.claims,
            timestamp=int(item.claimed_at.timestamp()),
            secrets=self._secrets(item.gateway),
            body=body,
            version=__version__,
        )
        return Post(url=item.result.notify_hook, body=body, headers=signed)

    def record(self, finished: Sequence[tuple[Lease, Exchange]]) -> Recorded:
        """Judge the outcomes and write them in one transaction, with their attempt rows; log them later."""
        self._record(finished)
        lets_through = any(lease.origin in self._held_back for lease, _ in finished)
        return Recorded(lets_through=lets_through, later=self._tally.tell)

    def _record(self, finished: Sequence[tuple[Lease, Exchange]]) -> None:
        firsts: dict[str, tuple[Lease, Exchange]] = {}
        later = [one for one in finished if firsts.setdefault(one[0].id, one) is not one]
        if later:  # a late outcome and its successor: the second is judged by what the first has left
            self._record(list(firsts.values()))
            self._record(later)
            return
        patience = Patience.of(LEASE_MARGIN, stop=self._stop)
        try:
            verdicts = persist(
                lambda: self._record_group(finished),
                patience=patience,
                what=f"the record of {len(finished)} attempts",
            )
        except DATABASE_TROUBLE as error:
            if not is_passing(error) and len(finished) > 1:
                for one in finished:  # what cannot be stored keeps only itself out
                    self._record([one])
                return
            # The leases end by themselves and the results are sent again under the same ids.
            logger.error(  # noqa: TRY400 - a traceback of an absent database says nothing more
                "%d attempts were not recorded: %s", len(finished), describe(error)
            )
            return
        for (lease, exchange), verdict in zip(finished, verdicts, strict=True):
            self._tally.add(lease, exchange, verdict)

    def _record_group(self, finished: Sequence[tuple[Lease, Exchange]]) -> list[Verdict | None]:
        with self._sessions.begin() as session:
            now = read_now(session)
            held = deliveries.hold(session, ids=[lease.id for lease, _ in finished])
            entries = [
                enter(lease, exchange, row=row, verdict=self._judge(exchange, row=row, now=now), now=now)
                for lease, exchange in finished
                if (row := held.get(lease.id)) is not None  # None: pruned meanwhile, nothing left to write
            ]
            deliveries.write_if_state_seen(
                session, changes=[(entry.lease.id, entry.change) for entry in entries]
            )
            deliveries.add_attempts(session, rows=[entry.attempt for entry in entries])
            outcomes: dict[str, list[PostOutcome]] = {}
            for lease, exchange in finished:
                outcomes.setdefault(lease.origin, []).append(exchange.outcome)
            changes = record_outcomes(session, outcomes=outcomes, most=self._origin_concurrency, now=now)
        log_breakers(changes)
        applied = {(entry.lease.id, entry.lease.claims): entry.applied for entry in entries}
        return [applied.get((lease.id, lease.claims)) for lease, _ in finished]

    def _judge(self, exchange: Exchange, *, row: Held, now: datetime) -> Verdict:
        return judge(
            exchange.outcome,
            attempt_count=row.attempt_count + 1,
            retry_schedule=self._retry_schedule,
            now=now,
            jitter=random.random(),  # noqa: S311 - spreads load
        )
