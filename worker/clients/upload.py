"""How much of what was sent the peer has taken, as the system's TCP knows it.

The event loop counts only what the system has not accepted yet. Megabytes lie below that, in the socket's own
buffer, and over TLS the loop's count says nothing at all.

Limit: what the peer's system has acknowledged its program may not have read. Systems other than Linux do not
say it; there the event loop's count must do.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Final

# Of Linux' `struct tcp_info`, which only ever grows at its end: tcpi_last_ack_recv, tcpi_bytes_acked.
_LAST_ACK: Final = struct.Struct("@56xI")
_BYTES_ACKED: Final = struct.Struct("@120xQ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What the peer has acknowledged on a connection so far."""

    count: int  # of bytes
    ago_s: float  # since its last acknowledgement, of whatever


def taken(transport: asyncio.Transport) -> Taken | None:
    """Return what the peer has acknowledged, or None where the system does not say it."""
    if sys.platform != "linux":  # FreeBSD has an option of this name too, and lays it out otherwise
        return None
    sock = transport.get_extra_info("socket")
    if sock is None:
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        (count,), (ago_ms,) = _BYTES_ACKED.unpack(info), _LAST_ACK.unpack_from(info)
    except (OSError, struct.error):
        return None
    return Taken(count=count, ago_s=ago_ms / 1000)
