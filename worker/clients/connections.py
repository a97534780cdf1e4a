"""A pool of HTTP connections: httpx's requests and responses, carried by one aiohttp session.

httpx's own pool is quadratic in its connections (70 ms CPU per request at 500 in flight); over aiohttp a
request costs 0.3 ms at any number. `httpx.AsyncClient` is left out on purpose, requests go straight to the
transport: the client would keep receivers' cookies for ever, write whole URLs (a notify_hook may carry a
token) into the log, and cost half as much again. What it would do for us, redirects, environment proxies
and decompression, is exactly what must not happen.

Many servers close idle connections, and one that closes just when we send looks like a failure of theirs. A
request whose *reused* connection dies within a second, before any byte came back, therefore goes out again
at once, a single time, on a new connection and within the caller's deadline: to the caller it is one request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from functools import cache
from typing import Any, Final, cast

import aiohttp
import httpx
from aiohappyeyeballs import SocketFactoryType
from aiohttp.abc import AbstractResolver
from httpx_aiohttp import AiohttpTransport
from yarl import URL

from worker.clients.connector import NotingConnector, current, noting
from worker.clients.failures import explain
from worker.clients.passage import Passage, TooMuch
from worker.core.webhook import PostError

# All hosts together; a single host has no limit of its own, the use-cases count. Twice what the dispatcher
# holds in flight, so nobody waits here. It must be a number: `None` would become aiohttp's default of 100.
MAX_CONNECTIONS: Final = 1_000


@cache
def default_ssl_context() -> ssl.SSLContext:
    """Return the process's one TLS context (building one costs 25 ms): the system's authorities."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connections:
    """One pool. To be built on the event loop that it will serve."""

    def __init__(
        self,
        *,
        resolver: AbstractResolver,
        keep_alive: timedelta,
        ssl_context: ssl.SSLContext | None = None,
        socket_factory: SocketFactoryType | None = None,
    ) -> None:
        context = ssl_context or default_ssl_context()
        self._session = aiohttp.ClientSession(
            connector=NotingConnector(
                limit=MAX_CONNECTIONS,
                limit_per_host=0,
                keepalive_timeout=keep_alive.total_seconds(),
                resolver=resolver,
                socket_factory=noting(socket_factory),
                ssl=context,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        self._transport = _Transport(verify=context, session=self._session)

    @asynccontextmanager
    async def answer(
        self, request: httpx.Request, *, connect: timedelta, read: timedelta, passage: Passage
    ) -> AsyncIterator[httpx.Response]:
        """Send `request`; the answer's status line and headers are there, its body is still to be read.

        `passage` is filled in on the way, whatever becomes of the request.

        `connect` bounds look-up, TCP and TLS together, `read` each silence after that. Neither bounds the
        whole: a peer that sends a byte now and then passes both, so callers hold an `asyncio.timeout`.
        """
        request.extensions["timeout"] = {
            "pool": connect.total_seconds(),  # aiohttp counts the look-up and all addresses into this one
            "connect": connect.total_seconds(),
            "read": read.total_seconds(),
        }
        response = await self._send(request, passage=passage)
        try:
            yield response
        finally:
            await response.aclose()

    async def _send(self, request: httpx.Request, *, passage: Passage) -> httpx.Response:
        token = current.set(passage)
        try:
            return await self._transport.handle_async_request(request)
        except Exception as error:
            if passage.cut:
                raise TooMuch from error
            lost = passage.lost_a_race(now=asyncio.get_running_loop().time())
            if self._session.closed or not lost or explain(error).error is not PostError.RESET:
                raise
            passage.begin_again()
            return await self._transport.handle_async_request(request)
        finally:
            current.reset(token)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


class _Transport(AiohttpTransport):
    """httpx's transport over our session, with URLs sent as they were written."""

    def __init__(self, *, verify: ssl.SSLContext, session: aiohttp.ClientSession) -> None:
        super().__init__(verify=verify, trust_env=False)
        self._verbatim = _Verbatim(session.request)

    def get_client(self) -> aiohttp.ClientSession:
        # The one method of a session that the transport calls is `request`.
        return cast("aiohttp.ClientSession", self._verbatim)


class _Verbatim:
    """A session whose `request` sends URLs as httpx quoted them.

    Left to itself yarl quotes again: `/suno/fetch/%2E%2E` would become `/suno/`, and `%2F` in a query `/`,
    which asks for something else than was meant and breaks a notify_hook that carries a signature.
    """

    def __init__(self, request: Callable[..., Any]) -> None:
        self._request = request

    def request(self, *, url: str, **options: Any) -> Any:  # noqa: ANN401  # aiohttp's own, passed through
        return self._request(url=URL(url, encoded=True), **options)


async def read_body(response: httpx.Response, *, limit: int, into: bytearray) -> None:
    """Add the body to `into` as it came over the wire, undecoded; stop once there is more than `limit`.

    What was read before an error or a deadline stays in `into`.
    """
    async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as chunks:
        async for chunk in chunks:
            into += chunk
            if len(into) > limit:
                break
