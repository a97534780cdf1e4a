"""The addresses of a peer, asked for once by all who want them at the same time, and known for 10 s."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import Final

from aiohappyeyeballs import AddrInfoType

from worker.clients.lookup import Address, Resolver
from worker.clients.target import Peer

KNOWN_FOR: Final = timedelta(seconds=10)
MOST_KNOWN: Final = 1_000

# Of one name, for one request. Each address that is silent keeps a file open until the time for connecting is
# over, so that strangers whose names have dozens of them could take all the files that a process may have.
MOST_ADDRESSES: Final = 4

_Found = asyncio.Task[Sequence[Address]]


class Names:
    """Look-ups of one pool. To be built on the event loop that it will serve."""

    def __init__(self, resolver: Resolver) -> None:
        """Ask `resolver` for what is not an address already."""
        self._resolver = resolver
        self._loop = asyncio.get_running_loop()
        self._asked: dict[str, tuple[float, _Found]] = {}  # the oldest first

    async def addresses(self, peer: Peer) -> Sequence[AddrInfoType]:
        """Return where to try to connect to `peer`, the best first, or raise what the resolver raises."""
        try:
            literal = ip_address(peer.host)
        except ValueError:
            pass
        else:
            family = socket.AF_INET if literal.version == 4 else socket.AF_INET6  # noqa: PLR2004
            return [_info(Address(family=family, host=peer.host), port=peer.port)]
        # One caller's cancellation or deadline is not that of the others, so the look-up is nobody's own.
        found = await asyncio.shield(self._look_up(peer.host))
        return [_info(one, port=peer.port) for one in _to_try(found)]

    def _look_up(self, host: str) -> _Found:
        now = self._loop.time()
        known = self._asked.get(host)
        if known is not None and now < known[0]:
            return known[1]
        asked = self._loop.create_task(self._ask(host))
        asked.add_done_callback(lambda done: self._note(host, done))
        self._asked.pop(host, None)
        self._asked[host] = now + KNOWN_FOR.total_seconds(), asked
        if len(self._asked) > MOST_KNOWN:
            self._asked.pop(next(iter(self._asked)))
        return asked

    async def _ask(self, host: str) -> Sequence[Address]:
        return await self._resolver.resolve(host)

    def _note(self, host: str, done: _Found) -> None:
        """Forget a failure: the next caller asks again."""
        failed = done.cancelled() or done.exception() is not None
        if failed and self._asked.get(host, (0.0, None))[1] is done:
            del self._asked[host]


def _to_try(found: Sequence[Address]) -> Sequence[Address]:
    """Return the first few, IPv6 and IPv4 by turns: a host may have lost its way to all of one kind."""
    by_family: dict[int, list[Address]] = defaultdict(list)
    for one in found:
        by_family[one.family].append(one)
    turns = chain.from_iterable(zip_longest(*by_family.values()))
    return [one for one in turns if one is not None][:MOST_ADDRESSES]


def _info(address: Address, *, port: int) -> AddrInfoType:
    ipv6 = (address.host, port, 0, address.scope)
    there = ipv6 if address.family == socket.AF_INET6 else (address.host, port)
    return address.family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", there
