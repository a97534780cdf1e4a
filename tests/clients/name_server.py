"""A DNS server on loopback whose answers a test decides, question by question."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import Literal, cast

A, AAAA = 1, 28
SERVER_FAILURE, NAME_ERROR = 2, 3
Answers = list[str] | Literal["silence", "failure"]
Zone = Mapping[str, Sequence[Answers]]


@dataclass(kw_only=True)
class NameServer(asyncio.DatagramProtocol):
    """Knows the names in `zone` and says NXDOMAIN to all others.

    Each look-up of a name takes its next entry, the last one for ever. `silence` never answers, `failure`
    is SERVFAIL.
    """

    zone: Zone
    address: str = ""
    _questions: Counter[tuple[str, int]] = field(default_factory=Counter)
    _asked: asyncio.Condition = field(default_factory=asyncio.Condition)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go out."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer one question."""
        name, kind, question = _parse(data)
        entries = self.zone.get(name)
        index = self._questions[name, kind]
        self._questions[name, kind] += 1
        if kind == A:
            self._telling = asyncio.ensure_future(self._tell())
        if entries is None:
            self._transport.sendto(_reply(data, question, [], code=NAME_ERROR), addr)
            return
        entry = entries[min(index, len(entries) - 1)]
        if entry == "failure":
            self._transport.sendto(_reply(data, question, [], code=SERVER_FAILURE), addr)
        elif entry != "silence":
            wanted = [a for a in map(ip_address, entry) if isinstance(a, IPv4Address) == (kind == A)]
            self._transport.sendto(_reply(data, question, [a.packed for a in wanted], kind=kind), addr)

    def lookups(self, name: str) -> int:
        """Return how often `name` was asked for (each look-up has one question for an IPv4 address)."""
        return self._questions[name, A]

    async def until_asked(self, names: Sequence[str]) -> None:
        """Wait until each of `names` was asked for."""
        async with self._asked:
            await self._asked.wait_for(lambda: all(self.lookups(name) for name in names))

    async def _tell(self) -> None:
        async with self._asked:
            self._asked.notify_all()


@asynccontextmanager
async def name_server(zone: Zone) -> AsyncIterator[NameServer]:
    """Serve `zone`; `address` is what a resolver takes as its name server."""
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: NameServer(zone=zone), local_addr=("127.0.0.1", 0)
    )
    host, port = transport.get_extra_info("sockname")
    server.address = f"{host}:{port}"
    try:
        yield server
    finally:
        transport.close()


def _parse(data: bytes) -> tuple[str, int, bytes]:
    """Return name, type and the raw text of the one question in a query."""
    labels, at = [], 12
    while data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode().lower())
        at += 1 + data[at]
    (kind,) = struct.unpack_from("!H", data, at + 1)
    return ".".join(labels), kind, data[12 : at + 5]


def _reply(query: bytes, question: bytes, answers: list[bytes], *, kind: int = A, code: int = 0) -> bytes:
    """Write a reply whose records may not be cached (TTL 0)."""
    header = query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(answers), 0, 0)
    records = [struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(packed)) + packed for packed in answers]
    return header + question + b"".join(records)
