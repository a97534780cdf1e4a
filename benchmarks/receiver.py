"""A receiver that is never the bottleneck: `python -m benchmarks.receiver [--hosts N] [--hanging M]`.

It listens on N ports, so that each is an origin of its own, and prints them as JSON. The first M of them take
every request and never answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-type: text/plain\r\n\r\nok"
END_OF_HEAD = b"\r\n\r\n"


class Receiver(asyncio.Protocol):
    """One connection: counts bytes, understands nothing but `content-length`."""

    def __init__(self, *, hangs: bool) -> None:
        """Make a connection that answers, or never does."""
        self._hangs = hangs
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._buffer += data
        while (end := self._buffer.find(END_OF_HEAD)) >= 0:
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            del self._buffer[: end + 4 + length]
            if not self._hangs and self._transport is not None:
                self._transport.write(ANSWER)


async def serve(*, hosts: int, hanging: int) -> None:
    """Listen until the process is ended."""
    loop = asyncio.get_running_loop()
    servers = [
        await loop.create_server(lambda hangs=number < hanging: Receiver(hangs=hangs), "127.0.0.1", 0)  # type: ignore[misc]
        for number in range(hosts)
    ]
    print(json.dumps([server.sockets[0].getsockname()[1] for server in servers]), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--hanging", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(serve(hosts=arguments.hosts, hanging=arguments.hanging))
