"""What one request met on its way: a pooled connection or a new one, and when each phase ended."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

# A server that drops an idle connection just when we reuse it shows within a round trip. What dies later
# had our request in its hands, and sending again would be a second attempt.
RACE: Final = timedelta(seconds=1)

# aiohttp parses all that one read brings, up to 256 KiB, before anybody can stop it: 15,000 interim answers,
# 6 MB of objects and 20 ms of everybody's event loop, again and again until the deadline. Servers send one
# or two (100 Continue, 103 Early Hints).
MOST_INTERIM: Final = 16
_STATUS_LINE: Final = b"HTTP/"
_FINAL: Final = re.compile(rb"HTTP/1\.[01] [2-5]")


class TooMuch(Exception):
    """More came back than an answer may have, and no end of its head."""


@dataclass(slots=True, kw_only=True)
class Passage:
    """One request's way, in seconds of the event loop's clock; filled in as it goes."""

    most_bytes: int  # that may come back: head, body and their framing
    must_be_fresh: bool = False  # connections from the pool are not good enough
    asked_at: float | None = None  # for a connection
    socket_at: float | None = None  # the first socket was made, so the name is resolved; None: from the pool
    connected_at: float | None = None  # TCP and TLS are up, or the pool had one
    heard_at: float | None = None  # first byte that came back, of whatever kind
    heard_bytes: int = 0
    status_lines: int = 0  # as long as none was final
    final: bool = False  # what comes now begins, or follows, a final status line
    cut: bool = False  # too much came: the connection is to be dropped
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

    def hear(self, data: bytes, *, now: float) -> bytes:
        """Note what has come; return as much of it as is worth parsing, and set `cut` if that is not all."""
        if self.heard_at is None:
            self.heard_at = now
        self.final = self.final or _FINAL.match(data) is not None
        if not self.final:
            self.status_lines += data.count(_STATUS_LINE)
            self.cut = self.status_lines > MOST_INTERIM
        self.heard_bytes += len(data)
        excess = self.heard_bytes - self.most_bytes
        if excess > 0:
            self.cut = True
            return data[: max(0, len(data) - excess)] if self.final else b""
        return b"" if self.cut else data

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
