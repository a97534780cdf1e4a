"""The least HTTP/1.1 that a simulated peer needs, so that it is never the bottleneck.

A request is read as soon as it is complete; its answer may be given later. Nothing but `content-length` is
understood, and one connection carries one request at a time.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.request import urlopen

END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One complete request and the moment at which its last byte was read."""

    method: str
    path: str
    body: bytes
    at: float


Reply = Callable[[bytes], None]
Handler = Callable[[Request, Reply], None]


class Connection(asyncio.Protocol):
    """One connection that hands each request to a handler, which replies when it likes, or never."""

    def __init__(self, handler: Handler) -> None:
        """Make a connection for `handler`."""
        self._handler = handler
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hand over each request that is complete."""
        self._buffer += data
        while (end := self._buffer.find(END_OF_HEAD)) >= 0:
            head = bytes(self._buffer[:end])
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            method, path, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
            self._handler(Request(method, path, body, time.time()), self._reply)

    def _reply(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


def answer(body: bytes, *, content_type: str = "application/json") -> bytes:
    """Return a complete answer with status 200."""
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\ncontent-type: {content_type}\r\n\r\n"
    return head.encode() + body


async def listen(*handlers: Handler) -> list[int]:
    """Serve each handler on a loopback port of its own; return the ports."""
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda handler=handler: Connection(handler), "127.0.0.1", 0)  # type: ignore[misc]
        for handler in handlers
    ]
    return [server.sockets[0].getsockname()[1] for server in servers]


def came_once(port: int, *, count: int) -> None:
    """End a scenario whose webhooks did not each come once: one in a hundred may have come again."""
    came, posts = len(ask(port, "/came")), int(str(ask(port, "/posts")["posts"]))
    assert came == count, f"{came} of {count} came"
    assert posts <= 1.01 * count, f"{posts} POSTs for {count} webhooks"


def ask(port: int, path: str, *, patience: float = 30.0) -> dict[str, object]:
    """Ask a simulated peer how it goes; raises TimeoutError when it does not answer in time."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=patience) as response:
        return dict(json.load(response))
