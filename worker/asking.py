"""Ask a gateway about a claimed poll batch, and find the ids that it refuses, one request after the other.

An answer is handed on as it comes. Whom a refusal is about is decided by `core.bisection`; a wrong base URL
so costs at most 3 requests, and any other trouble of the gateway ends the batch's turn at once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from worker.batches import ClaimedBatch, PolledGateway
from worker.clients.gateway import GatewayTarget
from worker.core.bisection import Search
from worker.core.lifecycle import Action
from worker.core.wire import Bad, Fetch, Good, Reply, Trouble

Shuffle = Callable[[Sequence[str]], Sequence[str]]


class Fetches(Protocol):
    """The gateway client's one verb."""

    def fetch(
        self, target: GatewayTarget, *, action: Action, task_ids: Sequence[str]
    ) -> AsyncIterator[tuple[tuple[str, ...], Reply]]:
        """Ask about `task_ids`; yield each answer with the ids it was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a batch's turn ended. `refused`: by the gateway, each when asked alone.

    `alone`: the batch holds ids that may be refused and were not found yet; it is not to be merged.
    `complaint`: what the gateway said when it last refused; "" when it refused nothing.
    """

    refused: tuple[str, ...] = ()
    alone: bool = False
    complaint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Polled:
    """One answer of a gateway. `is_trouble`: it is the gateway's; a refusal of some ids is not.

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
    """Ask in requests of at most the gateway's batch size; stop when the gateway is in trouble."""
    ids = _turned(list(batch.tasks), by=batch.lease.claims - 1)
    if not ids:
        yield Polled(task_ids=(), reply=Good(observations={}), end=End())
        return
    alone = batch.lease.alone
    size = gateway.batch_size if gateway.target.fetch is Fetch.BATCH else 1
    search = Search.of(shuffle(ids) if alone else ids, size=size, alone=alone)
    action = Action(batch.lease.action)
    answered: set[str] = set()
    complaint = ""
    while (part := search.next) is not None:
        async for _, reply in client.fetch(gateway.target, action=action, task_ids=part):
            refused = isinstance(reply, Bad) and reply.trouble is Trouble.REFUSED
            if isinstance(reply, Bad) and not refused:
                found = search.refused if search.has_answered else ()
                yield Polled(task_ids=part, reply=reply, is_trouble=True, end=End(refused=found, alone=alone))
                return
            search = search.after(refused=refused)
            if isinstance(reply, Bad):
                complaint = reply.message
            else:
                answered.update(part)
            left = tuple(one for one in ids if one not in answered)
            yield _judged(search, part=part, reply=reply, left=left, complaint=complaint)


def _turned(ids: Sequence[str], *, by: int) -> list[str]:
    """Begin with another id at each claim: trouble about one must not keep the others from being asked."""
    start = by % len(ids) if ids else 0
    return [*ids[start:], *ids[:start]]


def _judged(
    search: Search, *, part: tuple[str, ...], reply: Reply, left: tuple[str, ...], complaint: str
) -> Polled:
    """Say whom an answer is about: a refusal of several ids says nothing yet of any of them."""
    if search.blames_gateway:
        return Polled(task_ids=left, reply=reply, is_trouble=True, end=End(alone=True))
    end = None
    if search.next is None:
        end = End(refused=search.refused, alone=not search.is_complete, complaint=complaint)
    about = part if isinstance(reply, Good) or len(part) == 1 else ()
    return Polled(task_ids=about, reply=reply, end=end)
