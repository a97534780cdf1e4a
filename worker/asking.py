"""Ask a gateway about a claimed poll batch, and find the ids that spoil its requests, one after the other.

An answer is handed on as it comes. Whom a failure is about is decided by `core.bisection`, of two kinds: a
refusal (JSON 400, 413, 422), and trouble that may be the gateway's or about one id (5xx, a page, an envelope
that says failure, an answer without measure; 404 where each id has its own URL). Any other trouble (no
connection, no answer in time, 401, 403, 429) speaks of no id and ends the batch's turn at once.

Why the first trouble is not searched: mostly it is an outage, and a gateway that is down is not to be asked
more often by those who search. So its batch is left *doubted* for the next turn, in a request for one id; if
that is answered, the gateway lives, and the search costs what a refusal's does. An outage so costs one
request a turn, a wrong base URL at most 3.

Where that one id fails too, although the gateway has answered others since, the id is taken for guilty. So
even a batch where nobody is answered comes to an end, one id a turn.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from worker.batches import ClaimedBatch, PolledGateway
from worker.clients.gateway import GatewayTarget
from worker.core.bisection import Said, Search
from worker.core.lifecycle import Action
from worker.core.wire import Bad, Fetch, Good, Reply, Trouble
from worker.holding import monotonic

Shuffle = Callable[[Sequence[str]], Sequence[str]]

_OF_ONE_ID = frozenset({Trouble.SERVER_ERROR, Trouble.NOT_JSON, Trouble.ENVELOPE, Trouble.TOO_LARGE})


class Fetches(Protocol):
    """The gateway client's one verb."""

    def fetch(
        self, target: GatewayTarget, *, action: Action, task_ids: Sequence[str]
    ) -> AsyncIterator[tuple[tuple[str, ...], Reply]]:
        """Ask about `task_ids`; yield each answer with the ids it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a batch's turn ended. `guilty`: these failed, each when asked alone.

    `alone`: the batch may hold other such ids, and the gateway answers; it is not to be merged. `failed`: the
    last answer that was none; None when all were good.
    """

    guilty: tuple[str, ...] = ()
    alone: bool = False
    failed: Bad | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """One answer of a gateway. `is_trouble`: it is the gateway's; one about some ids is not.

    `task_ids` are those that the reply says something about. `end` comes with the last one: no further
    request follows and the lease can end.
    """

    task_ids: tuple[str, ...]
    reply: Reply
    is_trouble: bool = False
    end: End | None = None


async def ask(
    batch: ClaimedBatch, *, gateway: PolledGateway, client: Fetches, shuffle: Shuffle
) -> AsyncIterator[Polled]:
    """Ask in requests of at most the gateway's batch size; stop when the gateway is in trouble.

    No request is begun that may outlast the claim, as far as that is recorded; then it ends by itself.
    """
    if not batch.tasks:
        yield Polled(task_ids=(), reply=Good(observations={}), end=End())
        return
    target = gateway.target
    first, *others = _turned(list(batch.tasks), by=batch.lease.claims - 1)
    ids = [first, *(shuffle(others) if batch.doubted else others)]
    size = gateway.batch_size if target.fetch is Fetch.BATCH else 1
    turn = _Turn(batch=batch, fetch=target.fetch, search=Search.of(ids, size=size, doubted=batch.doubted))
    action = Action(batch.lease.action)
    while (part := turn.search.next) and batch.holding.covers(target.timeout, now=monotonic()):
        async for _, reply in client.fetch(target, action=action, task_ids=part):
            polled = turn.after(part, reply)
            yield polled
            if polled.end is not None:
                return


def _turned(ids: Sequence[str], *, by: int) -> list[str]:
    """Begin with another id at each claim: trouble about one must not keep the others from being asked."""
    start = by % len(ids)
    return [*ids[start:], *ids[:start]]


@dataclass(slots=True, kw_only=True)
class _Turn:
    """What a batch's turn has brought so far."""

    batch: ClaimedBatch
    fetch: Fetch
    search: Search
    told: set[str] = field(default_factory=set)
    failed: Bad | None = None

    def after(self, part: tuple[str, ...], reply: Reply) -> Polled:
        """Say whom an answer about `part` concerns: failing, several ids say nothing yet of any of them."""
        said = _said(reply, fetch=self.fetch)
        if isinstance(reply, Bad):
            self.failed = reply
        if said is None:
            return self._trouble(part, reply, guilty=self.search.proven, alone=self.batch.lease.alone)
        self.search = self.search.after(said)
        if self.search.blames_gateway:
            return self._blamed(part, reply, is_refused=said is Said.REFUSED)
        end = None
        if self.search.next is None:
            end = End(guilty=self.search.guilty, alone=not self.search.is_complete, failed=self.failed)
        about = part if said is Said.ANSWER or len(part) == 1 else ()
        return Polled(task_ids=self._tell(about), reply=reply, end=end)

    def _blamed(self, part: tuple[str, ...], reply: Reply, *, is_refused: bool) -> Polled:
        """Leave it to the gateway, unless it is known better."""
        search, batch = self.search, self.batch
        # A batch that is alone was refused before; if each of its ids is, it would be so for ever.
        if batch.is_lone or (is_refused and batch.lease.alone and set(search.guilty) == set(batch.tasks)):
            end = End(guilty=search.guilty, failed=self.failed)
            return Polled(task_ids=self._tell(batch.tasks), reply=reply, end=end)
        known = batch.others_answered and not search.has_answered
        guilty = search.guilty if known else search.proven
        return self._trouble(part, reply, guilty=guilty, alone=is_refused or batch.lease.alone)

    def _trouble(
        self, part: tuple[str, ...], reply: Reply, *, guilty: tuple[str, ...], alone: bool
    ) -> Polled:
        """End the turn. A gateway that answers nobody concerns all of the batch, whoever was asked about."""
        answers_some = self.search.has_answered or self.batch.others_answered
        about = part if answers_some or self.fetch is Fetch.SINGLE else self.batch.tasks
        end = End(guilty=guilty, alone=alone, failed=self.failed)
        return Polled(task_ids=self._tell(about), reply=reply, is_trouble=True, end=end)

    def _tell(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Return those of `ids` of which nothing was said in this turn."""
        new = tuple(one for one in ids if one not in self.told)
        self.told.update(new)
        return new


def _said(reply: Reply, *, fetch: Fetch) -> Said | None:
    """Return what a reply may say of single ids; None for trouble that is plainly the gateway's."""
    if isinstance(reply, Good):
        return Said.ANSWER
    if reply.trouble is Trouble.REFUSED:
        return Said.REFUSED
    has_own_url = fetch is Fetch.SINGLE and reply.trouble is Trouble.NOT_FOUND
    return Said.TROUBLE if has_own_url or reply.trouble in _OF_ONE_ID else None
