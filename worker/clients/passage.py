"""What one request met on its way: a pooled connection or a new one, and when each phase ended."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from aiohappyeyeballs import AddrInfoType, SocketFactoryType

# A server that drops an idle connection just when we reuse it shows within a round trip. What dies later
# had our request in its hands, and sending again would be a second attempt.
RACE: Final = timedelta(seconds=1)


@dataclass(slots=True, kw_only=True)
class Passage:
    """One request's way, in seconds of the event loop's clock; filled in as it goes."""

    must_be_fresh: bool = False  # connections from the pool are not good enough
    asked_at: float | None = None  # for a connection
    socket_at: float | None = None  # the first socket was made, so the name is resolved; None: from the pool
    connected_at: float | None = None  # TCP and TLS are up, or the pool had one
    heard_at: float | None = None  # first byte that came back, of whatever kind
    last_heard_at: float | None = None  # last bytes that came back
    remote_address: str | None = None  # connected to, or tried last

    @property
    def reused(self) -> bool:
        """Whether the connection came from the pool."""
        return self.connected_at is not None and self.socket_at is None

    def lost_a_race(self, *, now: float) -> bool:
        """Say whether a connection that has just died was closed by the peer while we took it for alive.

        Never once a byte has come back: then the peer has seen the request.
        """
        return (
            self.connected_at is not None
            and self.reused
            and self.heard_at is None
            and now - self.connected_at <= RACE.total_seconds()
        )

    def heard(self, *, now: float) -> None:
        """Note that something has come."""
        if self.heard_at is None:
            self.heard_at = now
        self.last_heard_at = now

    def begin_again(self) -> None:
        """Forget this way: the request goes out once more, on a connection of its own."""
        self.must_be_fresh = True
        self.asked_at = self.connected_at = None
        self.remote_address = None

    def dns(self, *, end: float) -> timedelta | None:
        """Return how long the look-up took or, cut short, lasted until `end`; None from the pool."""
        if self.asked_at is None or self.reused:
            return None
        return timedelta(seconds=(end if self.socket_at is None else self.socket_at) - self.asked_at)

    def connect(self, *, end: float) -> timedelta | None:
        """Return how long TCP and TLS took or, cut short, lasted until `end`; None from the pool."""
        if self.socket_at is None:
            return None
        return timedelta(seconds=(end if self.connected_at is None else self.connected_at) - self.socket_at)

    def first_byte(self) -> timedelta | None:
        """Return how long the peer took from the connection to the first byte; None if none came."""
        if self.connected_at is None or self.heard_at is None:
            return None
        return timedelta(seconds=self.heard_at - self.connected_at)


def noting(passage: Passage, make: SocketFactoryType | None) -> Callable[[AddrInfoType], socket.socket]:
    """Return a socket factory that does what `make` does, or the usual, and notes it in the passage."""

    def made(addr_info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = addr_info
        sock = make(addr_info) if make else socket.socket(family=family, type=kind, proto=protocol)
        passage.remote_address = str(sockaddr[0])
        if passage.socket_at is None:
            passage.socket_at = asyncio.get_running_loop().time()
        return sock

    return made
