"""A TCP proxy that misbehaves on purpose: slow, half-open, cut, refusing, pointing somewhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from worker.clients.portal import Portal
from worker.embedded.valkey import HOST

CHUNK = 64 * 1024

Target = tuple[str, int] | Path  # a port, or a Unix socket


@dataclass(slots=True, eq=False)
class _Link:
    """One connection: both sides of it, and whether anything still passes."""

    near: asyncio.StreamWriter
    far: asyncio.StreamWriter
    open: asyncio.Event


@dataclass(slots=True, kw_only=True)
class Proxy:
    """Forwards `port` of loopback to `target`. Its fields may be changed at any time, from any thread."""

    target: Target
    portal: Portal
    port: int = 0
    delay_s: float = 0.0  # before each piece is passed on, in either direction
    refuses: bool = False  # new connections are closed at once
    links: set[_Link] = field(default_factory=set)

    def half_open(self) -> int:
        """Pass nothing on, in no direction, over the connections there are, and close none; return how many.

        New connections work: it is what a fail-over or a forgetful router leaves behind.
        """
        return self._each(lambda link: link.open.clear())

    def cut(self) -> int:
        """Close all connections that there are; return how many."""
        return self._each(_close)

    def _each(self, step: Callable[[_Link], object]) -> int:
        async def to_all() -> int:
            links = list(self.links)
            for link in links:
                step(link)
            return len(links)

        return self.portal.submit(to_all()).result()

    async def serve(self) -> asyncio.Server:
        """Listen on a free port."""
        server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.close()
            return
        try:
            if isinstance(self.target, Path):
                there, far = await asyncio.open_unix_connection(str(self.target))
            else:
                there, far = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        link = _Link(near=writer, far=far, open=asyncio.Event())
        link.open.set()
        self.links.add(link)
        with suppress(asyncio.CancelledError):  # the proxy itself ends
            await asyncio.gather(self._pump(reader, far, link), self._pump(there, writer, link))
        self.links.discard(link)
        _close(link)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, link: _Link) -> None:
        with suppress(OSError):
            while piece := await source.read(CHUNK):
                await asyncio.sleep(self.delay_s)
                await link.open.wait()
                sink.write(piece)
                await sink.drain()
        if link.open.is_set():
            _close(link)


def _close(link: _Link) -> None:
    """Close both sides; whoever waits for the link is let go."""
    link.near.close()
    link.far.close()
    link.open.set()


@contextmanager
def serve_proxy(target: Target) -> Iterator[Proxy]:
    """Run a proxy for the length of the block."""
    portal = Portal.start()
    proxy = Proxy(target=target, portal=portal)
    server = portal.submit(proxy.serve()).result()
    try:
        yield proxy
    finally:
        proxy.refuses = True

        async def close() -> None:
            server.close()

        portal.submit(close()).result()
        proxy.cut()
        portal.close()
