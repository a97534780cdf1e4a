"""POST one message to a receiver that may be anything: slow, broken, hostile, or not a receiver at all.

`post` gives back what happened as a value, always, and within its time: look-up and connect within 5 s, each
silence at most 10 s, the whole within `timeout` of the wall clock. The status line decides: once it has
come, nothing that the body does changes the outcome. Redirects are not followed, answers are not decoded, at
most 16 KiB of one are read (so that a small answer leaves its connection reusable), and 4 KiB are kept.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Final

import httpx

from worker.clients.address_guard import REFUSAL, GuardedLookup, guarded_socket, permitted
from worker.clients.connections import Connections
from worker.clients.endpoint_answer import read_outcome
from worker.clients.exchange import Exchange, Sent, exchange_of
from worker.clients.failures import explain
from worker.clients.lookup import Lookup
from worker.clients.passage import Passage
from worker.clients.response import Response
from worker.clients.target import Target, compose
from worker.core.addresses import Allow, read_literal
from worker.core.hooks import BadHook, check_notify_hook, split_hook
from worker.core.verdicts import Failed, PostError, PostOutcome

CONNECT: Final = timedelta(seconds=5)
READ: Final = timedelta(seconds=10)
READ_LIMIT: Final = 16 * 1024
HEARD_LIMIT: Final = 32 * 1024  # bytes on the wire: head, framing of chunks, and READ_LIMIT of a body

# Common servers drop idle connections after 5 s. Being first avoids most posts into a closing connection,
# and a burst of results for one receiver still shares its connections.
KEEP_ALIVE: Final = timedelta(seconds=4)

_OWN_HEADERS: Final = {"accept": "*/*", "accept-encoding": "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """One request: complete, signed, and told where to."""

    url: str
    body: bytes
    headers: Mapping[str, str]


class EndpointClient:
    """The process's way to receivers. To be built on the event loop that it will serve.

    Two pools: hosts that `allow` names are connected to as they are, all others under the address guard.
    """

    def __init__(
        self,
        *,
        allow: Allow,
        timeout: timedelta,
        nameservers: Sequence[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._allow = allow
        self._timeout = timeout
        self._lookup = Lookup(nameservers=nameservers)
        self._trusted = Connections(resolver=self._lookup, keep_alive=KEEP_ALIVE, ssl_context=ssl_context)
        self._guarded = Connections(
            resolver=GuardedLookup(self._lookup, allow=allow),
            socket_factory=guarded_socket(allow=allow),
            keep_alive=KEEP_ALIVE,
            ssl_context=ssl_context,
        )

    async def post(self, post: Post) -> Exchange:
        """Send `post` and return what came of it; raises nothing but CancelledError."""
        clock = asyncio.get_running_loop().time
        sent = Sent.of(post.body)
        begun = clock()
        passage = Passage()
        asking = self._outcome(post, passage=passage)
        del post  # nobody holds a body while its receiver takes its time
        outcome = await asking
        return exchange_of(outcome, passage=passage, begun=begun, end=clock(), sent=sent)

    async def close(self) -> None:
        """Close all connections; what is in flight fails."""
        await self._guarded.close()
        await self._trusted.close()
        await self._lookup.close()

    async def _outcome(self, post: Post, *, passage: Passage) -> PostOutcome:
        answer = Response(body_limit=READ_LIMIT, most_bytes=HEARD_LIMIT)
        try:
            target, trusted = _target(post.url, self._allow)
            asking = (self._trusted if trusted else self._guarded).ask(
                target.peer,
                compose("POST", target, headers={**_OWN_HEADERS, **post.headers}, body=post.body),
                answer=answer,
                passage=passage,
                connect=CONNECT,
                read=READ,
            )
        except BadHook as problem:
            return _refused(post.url, allow=self._allow, problem=problem)
        except (httpx.InvalidURL, ValueError):
            return Failed(error=PostError.INVALID_URL, detail="the URL cannot be used")
        del post
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await asking
        except Exception as error:  # noqa: BLE001  # whatever a stranger's server provokes is an outcome
            if not answer.status_code:
                return explain(error)
        return read_outcome(answer)


# Most services name one hook for all their tasks: what a URL means is worked out once.
@lru_cache(maxsize=1_024)
def _target(url: str, allow: Allow) -> tuple[Target, bool]:
    """Return where a URL leads, and whether the operator allowed its host by name."""
    # The rules were checked when the hook came; WORKER_WEBHOOK_ALLOW may have been narrowed since.
    target = Target.of(check_notify_hook(url, allow=allow))
    return target, allow.permits_host(target.peer.host)


def _refused(url: str, *, allow: Allow, problem: BadHook) -> Failed:
    """Tell a forbidden address in the URL from a URL that is wrong otherwise."""
    try:
        literal = read_literal(split_hook(url).hostname or "")
    except BadHook:
        literal = None
    if literal is not None and not permitted(str(literal), allow=allow):
        return Failed(error=PostError.BLOCKED_ADDRESS, detail=REFUSAL)
    return Failed(error=PostError.INVALID_URL, detail=f"notify_hook: {problem}")
