"""A pool of HTTP/1.1 connections for small requests: nothing between our bytes and the event loop's.

A general client's session, request, response and stream objects cost several times what a POST of ours does:
this takes a third of aiohttp's CPU and a fifth of httpx's. What they would do besides, redirects, cookies,
proxies of the environment, decompression, is exactly what must not happen here.

Many servers close idle connections, and one that closes just when we send looks like a failure of theirs. A
request whose *reused* connection dies within a second, before any byte came back, therefore goes out again
at once, a single time, on a new connection and within the caller's deadline: to the caller it is one request.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio.sslproto import SSLProtocol
from datetime import timedelta
from functools import cache
from typing import Final

from aiohappyeyeballs import SocketFactoryType, start_connection

from worker.clients.failures import explain
from worker.clients.idle import Idle
from worker.clients.line import Closed, Line, NoConnection
from worker.clients.lookup import Resolver
from worker.clients.names import Names
from worker.clients.passage import Passage, noting
from worker.clients.response import Response
from worker.clients.target import Peer
from worker.core.verdicts import PostError

HAPPY_EYEBALLS_DELAY_S = 0.25  # before the next address of a name is tried beside the first, as RFC 8305 says


# asyncio gives each connection with TLS 256 KiB to read into: to a thousand of them 256 MiB. A record of TLS
# has at most 16 KiB. What OpenSSL itself takes for a connection, some 50 KiB, stays.
TLS_BUFFER: Final = 16 * 1024


@cache
def default_ssl_context() -> ssl.SSLContext:
    """Return the process's one TLS context (building one costs 25 ms): the system's authorities."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connections:
    """One pool. To be built on the event loop that it will serve.

    It has no limit of its own for what is in flight: the use-cases count.
    """

    def __init__(
        self,
        *,
        resolver: Resolver,
        keep_alive: timedelta,
        ssl_context: ssl.SSLContext | None = None,
        socket_factory: SocketFactoryType | None = None,
    ) -> None:
        SSLProtocol.max_size = TLS_BUFFER  # of the whole process: there is no other way to say it
        self._names = Names(resolver)
        self._idle = Idle(keep_alive=keep_alive)
        self._busy: set[Line] = set()
        self._ssl_context = ssl_context or default_ssl_context()
        self._socket_factory = socket_factory
        self._loop = asyncio.get_running_loop()
        self._closed = False

    async def ask(
        self,
        peer: Peer,
        request: bytes,
        *,
        answer: Response,
        passage: Passage,
        connect: timedelta,
        read: timedelta,
    ) -> None:
        """Send `request` and wait for its answer; raise what went wrong.

        `answer` and `passage` are filled in on the way, whatever becomes of the request. `connect` bounds
        look-up, TCP and TLS together, `read` each silence after that. Neither bounds the whole: a peer that
        sends a byte now and then passes both, so callers hold an `asyncio.timeout`.
        """
        if self._is_closed():
            raise RuntimeError("the client is closed")
        try:
            line = self._from_pool(peer, answer=answer, passage=passage)
            if line is not None:
                self._send(line, request, passage=passage, read=read)
                await self._answered(line, peer)
                return
        except Exception as error:
            lost = passage.lost_a_race(now=self._loop.time()) and explain(error).error is PostError.RESET
            if not lost or self._is_closed():
                raise
            passage.begin_again()
            self._idle.drop(peer)  # a server that was restarted has dropped them all
        line = await self._connect(peer, answer=answer, passage=passage, within=connect)
        self._send(line, request, passage=passage, read=read)
        del request  # it goes out no more, and a thousand that wait for their answers would hold as many
        await self._answered(line, peer)

    async def close(self) -> None:
        """Close all connections; what is in flight fails."""
        self._closed = True
        self._idle.close()
        for line in self._busy:
            line.abort()
        await asyncio.sleep(0)  # the event loop closes sockets in its next round

    def _is_closed(self) -> bool:
        return self._closed

    def _from_pool(self, peer: Peer, *, answer: Response, passage: Passage) -> Line | None:
        line = self._idle.take(peer)
        if line is not None:
            line.begin(passage=passage, answer=answer)
        return line

    def _send(self, line: Line, request: bytes, *, passage: Passage, read: timedelta) -> None:
        passage.remote_address = line.remote_address or passage.remote_address
        passage.connected_at = self._loop.time()
        line.send(request, read=read)

    async def _answered(self, line: Line, peer: Peer) -> None:
        self._busy.add(line)
        try:
            usable = await line.answered()
        except BaseException:
            line.abort()
            raise
        finally:
            self._busy.discard(line)
        if usable and not self._closed:
            self._idle.put(peer, line)
        else:
            line.abort()

    async def _connect(self, peer: Peer, *, answer: Response, passage: Passage, within: timedelta) -> Line:
        passage.asked_at = self._loop.time()
        try:
            async with asyncio.timeout(within.total_seconds()):
                addresses = await self._names.addresses(peer)
                sock = await start_connection(
                    addresses,
                    happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S,
                    interleave=1,
                    socket_factory=noting(passage, self._socket_factory),
                )
                _, line = await self._loop.create_connection(
                    lambda: Line(passage=passage, answer=answer),
                    sock=sock,
                    ssl=self._ssl_context if peer.tls else None,
                    server_hostname=peer.host.rstrip(".") if peer.tls else None,
                )
        except TimeoutError as error:
            raise NoConnection from error
        except OSError as error:
            # A frame of start_connection holds it: together they would hold the request that it passes.
            error.__traceback__ = None
            raise
        if self._closed:
            line.abort()
            raise Closed
        return line
