"""Peers that do exactly what a test says, down to the byte and the reset, and count who connects."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

# Made once, valid until 2126, for these tests only:
# openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=receiver.test
#   -addext subjectAltName=DNS:receiver.test,IP:127.0.0.1 -keyout receiver.key -out receiver.pem
CERTIFICATES = Path(__file__).parent / "certificates"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass(kw_only=True)
class Connection:
    """One accepted connection, in the hands of a script."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> bytes:
        """Read one whole request, head and body, as it came over the wire."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lengths = [
            line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        return head + await self.reader.readexactly(int(lengths[0]) if lengths else 0)

    async def send(self, data: bytes) -> None:
        """Send `data` and wait until the peer's window takes it."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End with a TCP reset instead of a proper close."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Connection], Awaitable[None]]


@dataclass(kw_only=True)
class Peer:
    """A listening peer: where it is and what it has seen."""

    port: int
    accepts: int = 0
    requests: list[bytes] = field(default_factory=list)
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # a script is over, cut off by us or not


@asynccontextmanager
async def listen(
    script: Script, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """Run `script` for each connection; when the test is over, whatever still runs is cancelled."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.accepts += 1
        peer.accepted.set()
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(Connection(reader=reader, writer=writer))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the test is over
        finally:
            peer.ended.set()
            writer.transport.abort()

    server = await asyncio.start_server(serve, host=host, port=port, ssl=tls)
    peer = Peer(port=server.sockets[0].getsockname()[1])
    try:
        yield peer
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def answering(
    *answers: bytes, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """Keep connections open and answer each request with the next of `answers`, the last one for ever."""
    left = list(answers)

    async def script(connection: Connection) -> None:
        while True:
            peer.requests.append(await connection.request())
            await connection.send(left.pop(0) if len(left) > 1 else left[0])

    async with listen(script, host=host, port=port, tls=tls) as peer:
        yield peer


def answer(body: bytes, *, status: str = "200 OK", headers: str = "Content-Type: application/json") -> bytes:
    """Write an HTTP/1.1 answer."""
    return f"HTTP/1.1 {status}\r\n{headers}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def server_tls() -> ssl.SSLContext:
    """Return the TLS side of a peer whose certificate is for `receiver.test` and signed by nobody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATES / "receiver.pem", CERTIFICATES / "receiver.key")
    return context


def trusting_tls() -> ssl.SSLContext:
    """Return a client's TLS context that trusts that certificate, for its own name."""
    return ssl.create_default_context(cafile=CERTIFICATES / "receiver.pem")
