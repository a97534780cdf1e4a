"""Connections that wait for their next request.

Common servers close theirs after a while; ours are closed before that. The one used last is taken first, so
what a burst has left over ends by itself.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from worker.clients.line import Line
from worker.clients.target import Peer

# Thousands of receivers with one result each would otherwise keep as many files open for seconds. Three pools
# of this size and all that is in flight stay within what `open_files` makes room for.
MOST_IDLE: Final = 400


class Idle:
    """The idle connections of one pool. To be built on the event loop that it will serve."""

    def __init__(self, *, keep_alive: timedelta) -> None:
        """Make an empty pool."""
        self._loop = asyncio.get_running_loop()
        self._keep_alive = keep_alive.total_seconds()
        self._since: dict[Line, tuple[Peer, float]] = {}  # the longest idle first
        self._lines: dict[Peer, list[Line]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    def take(self, peer: Peer) -> Line | None:
        """Return an open connection to `peer`, which then is no longer here, or None."""
        for line in reversed(self._lines.get(peer, [])):
            self._forget(line)
            if line.is_open:
                return line
        return None

    def put(self, peer: Peer, line: Line) -> None:
        """Keep a connection for a while; the longest idle one makes room."""
        self._since[line] = peer, self._loop.time()
        self._lines.setdefault(peer, []).append(line)
        if len(self._since) > MOST_IDLE:
            self._close(next(iter(self._since)))
        if self._sweep is None:
            self._sweep = self._loop.call_later(self._keep_alive, self._close_old)

    def drop(self, peer: Peer) -> None:
        """Close all connections to `peer`."""
        for line in list(self._lines.get(peer, [])):
            self._close(line)

    def close(self) -> None:
        """Close all."""
        if self._sweep is not None:
            self._sweep.cancel()
        for line in list(self._since):
            self._close(line)

    def _close_old(self) -> None:
        """Close what has been idle for long enough, and come back for the next one."""
        now = self._loop.time()
        self._sweep = None
        for line, (_, since) in list(self._since.items()):
            left = since + self._keep_alive - now
            if left > 0:
                self._sweep = self._loop.call_later(left, self._close_old)
                return
            self._close(line)

    def _close(self, line: Line) -> None:
        self._forget(line)
        line.close()

    def _forget(self, line: Line) -> None:
        peer, _ = self._since.pop(line)
        self._lines[peer].remove(line)
        if not self._lines[peer]:
            del self._lines[peer]
