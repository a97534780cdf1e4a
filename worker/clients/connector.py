"""A pool that notes each request's passage.

aiohttp offers `TraceConfig` for this, which costs a small POST 10 % more CPU. Three places that every request
passes anyway tell the same for 4 %: the socket factory (the host name is resolved, a connection
is about to be made), `TCPConnector.connect` (the request has its connection), and an `Ear` at the connection
(the first byte has come). The request's passage reaches them as a context variable.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final, cast

import aiohttp
from aiohappyeyeballs import AddrInfoType, SocketFactoryType
from aiohttp.tracing import Trace

from worker.clients.passage import Passage

_END_OF_HEAD: Final = b"\r\n\r\n"

current: ContextVar[Passage] = ContextVar("passage")


def noting(make: SocketFactoryType | None) -> Callable[[AddrInfoType], socket.socket]:
    """Return a socket factory that does what `make` does, or the usual, and notes it in the passage."""

    def made(addr_info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = addr_info
        sock = make(addr_info) if make else socket.socket(family=family, type=kind, proto=protocol)
        passage = current.get()
        passage.remote_address = str(sockaddr[0])
        if passage.socket_at is None:
            passage.socket_at = asyncio.get_running_loop().time()
        return sock

    return made


class NotingConnector(aiohttp.TCPConnector):
    """A pool that notes in each request's passage which connection it got, and when."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # aiohttp's own signature
    ) -> aiohttp.connector.Connection:
        """Return a connection for `req`; for one that must be fresh the idle ones to its host are closed."""
        passage = current.get()
        clock = asyncio.get_running_loop().time
        passage.asked_at = clock()
        connection = await super().connect(req, traces, timeout)
        while passage.must_be_fresh and passage.socket_at is None:
            connection.close()
            connection = await super().connect(req, traces, timeout)
        transport = connection.transport
        if transport is not None:
            _listen(transport, passage)
            peer = transport.get_extra_info("peername")
            passage.remote_address = passage.remote_address if peer is None else peer[0]
        passage.connected_at = clock()
        return connection


class Ear(asyncio.Protocol):
    """Stands before aiohttp's protocol: notes what comes and passes it on, up to what an answer may have."""

    def __init__(self, transport: asyncio.Transport, behind: asyncio.Protocol, *, passage: Passage) -> None:
        self._transport = transport
        self._behind = behind
        self._clock = asyncio.get_running_loop().time
        self.passage = passage  # of the request that has the connection now, or had it last

    def data_received(self, data: bytes) -> None:
        """Pass on what the passage takes; drop the connection when it takes no more.

        A head goes first, alone: met by a broken body in one piece, aiohttp's parser would drop both.
        """
        awaits_head = not self.passage.final
        taken = self.passage.hear(data, now=self._clock())
        if awaits_head and self.passage.final:
            head, end, taken = taken.partition(_END_OF_HEAD)
            self._behind.data_received(head + end)
        if taken:
            self._behind.data_received(taken)
        if self.passage.cut:
            self._transport.abort()

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._behind.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on."""
        self._behind.connection_lost(exc)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._behind.resume_writing()


def _listen(transport: asyncio.Transport, passage: Passage) -> None:
    ear = transport.get_protocol()
    if isinstance(ear, Ear):
        ear.passage = passage
    else:
        transport.set_protocol(Ear(transport, cast("asyncio.Protocol", ear), passage=passage))
