"""Ask a gateway about a claimed poll batch, and find the ids that spoil its requests, one after the other.

An answer is handed on as it comes; `attribution` says whom it is about. That is searched by `core.bisection`
for failures of two kinds: a
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

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from worker.attribution import End, Polled, Turn
from worker.batches import ClaimedBatch, PolledGateway
from worker.clients.gateway import GatewayTarget
from worker.core.bisection import Search
from worker.core.lifecycle import Action
from worker.core.wire import Fetch, Good, Reply
from worker.holding import monotonic

Shuffle = Callable[[Sequence[str]], Sequence[str]]


class Fetches(Protocol):
    """The gateway client's one verb."""

    def fetch(
        self, target: GatewayTarget, *, action: Action, task_ids: Sequence[str]
    ) -> AsyncIterator[tuple[tuple[str, ...], Reply]]:
        """Ask about `task_ids`; yield each answer with the ids it was asked for."""


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
    turn = Turn(batch=batch, fetch=target.fetch, search=Search.of(ids, size=size, doubted=batch.doubted))
    action = Action(batch.lease.action)
    while (part := turn.next) and batch.holding.covers(target.timeout, now=monotonic()):
        async for _, reply in client.fetch(target, action=action, task_ids=part):
            polled = turn.after(part, reply)
            yield polled
            if polled.end is not None:
                return


def _turned(ids: Sequence[str], *, by: int) -> list[str]:
    """Begin with another id at each claim: trouble about one must not keep the others from being asked."""
    start = by % len(ids)
    return [*ids[start:], *ids[:start]]
