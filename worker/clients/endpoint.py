"""POST one message to a receiver that may be anything: slow, broken, hostile, or not a receiver at all.

`post` gives back what happened as a value, always, and within its time: look-up and connect within 5 s, each
silence at most 10 s, the whole within `timeout` of the wall clock. The status line decides: once it has
come, nothing that the body does changes the outcome. Redirects are not followed, answers are not decoded, at
most 16 KiB of one are read (so that a small answer leaves its connection reusable), and 4 KiB are kept.
Honest limit: a head that comes in pieces, the last of them with broken chunks behind it, is a protocol_error.
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
from worker.clients.connections import Connections, read_body
from worker.clients.endpoint_answer import read_outcome
from worker.clients.exchange import Exchange, exchange_of
from worker.clients.failures import explain
from worker.clients.lookup import Lookup
from worker.clients.passage import Passage
from worker.core.addresses import Allow, read_literal
from worker.core.hooks import BadHook, check_notify_hook, split_hook
from worker.core.webhook import Failed, PostError, PostOutcome

CONNECT: Final = timedelta(seconds=5)
READ: Final = timedelta(seconds=10)
READ_LIMIT: Final = 16 * 1024
HEARD_LIMIT: Final = 32 * 1024  # bytes on the wire: head, framing of chunks, and READ_LIMIT of a body

# Common servers drop idle connections after 5 s. Being first avoids most posts into a closing connection,
# and a burst of results for one receiver still shares its connections.
KEEP_ALIVE: Final = timedelta(seconds=4)


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
        begun = clock()
        passage = Passage(most_bytes=HEARD_LIMIT)
        outcome = await self._outcome(post, passage=passage)
        return exchange_of(outcome, passage=passage, begun=begun, end=clock(), body=post.body)

    async def close(self) -> None:
        """Close all connections; what is in flight fails."""
        await self._guarded.close()
        await self._trusted.close()
        await self._lookup.close()

    async def _outcome(self, post: Post, *, passage: Passage) -> PostOutcome:
        try:
            request = _request(post, allow=self._allow)
        except BadHook as problem:
            return _refused(post.url, allow=self._allow, problem=problem)
        except (httpx.InvalidURL, ValueError):
            return Failed(error=PostError.INVALID_URL, detail="the URL cannot be used")
        return await self._send(request, passage=passage)

    async def _send(self, request: httpx.Request, *, passage: Passage) -> PostOutcome:
        trusted = _is_trusted(request.url, self._allow)
        connections = self._trusted if trusted else self._guarded
        response: httpx.Response | None = None
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout.total_seconds()),
                connections.answer(request, connect=CONNECT, read=READ, passage=passage) as response,
            ):
                await read_body(response, limit=READ_LIMIT, into=body)
        except Exception as error:  # noqa: BLE001  # whatever a stranger's server provokes is an outcome
            if response is None:
                return explain(error)
        return read_outcome(response, body=bytes(body))


def _request(post: Post, *, allow: Allow) -> httpx.Request:
    own = {"accept": "*/*", "accept-encoding": "identity"}
    return httpx.Request("POST", _target(post.url, allow), content=post.body, headers={**own, **post.headers})


# Most services name one hook for all their tasks: what a URL means is worked out once.
@lru_cache(maxsize=1_024)
def _target(url: str, allow: Allow) -> httpx.URL:
    # The rules were checked when the hook came; WORKER_WEBHOOK_ALLOW may have been narrowed since.
    return httpx.URL(check_notify_hook(url, allow=allow))


@lru_cache(maxsize=1_024)
def _is_trusted(url: httpx.URL, allow: Allow) -> bool:
    return allow.permits_host(url.host)


def _refused(url: str, *, allow: Allow, problem: BadHook) -> Failed:
    """Tell a forbidden address in the URL from a URL that is wrong otherwise."""
    try:
        literal = read_literal(split_hook(url).hostname or "")
    except BadHook:
        literal = None
    if literal is not None and not permitted(str(literal), allow=allow):
        return Failed(error=PostError.BLOCKED_ADDRESS, detail=REFUSAL)
    return Failed(error=PostError.INVALID_URL, detail=f"notify_hook: {problem}")
