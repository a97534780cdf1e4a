"""No connection to an address that a stranger's URL must not reach, whatever the name says.

The guard stands at two places. `GuardedLookup` refuses a name if *any* of its addresses is forbidden: a name
that mixes public and private answers is an attack or a mistake, and trying the good ones would only hide it.
`guarded_socket` is asked for a socket to the very address that is connected to next, be it looked up or
written in the URL; between its judgement and the connect nothing is looked up again, so an answer that
changes in between (DNS rebinding) changes nothing.

Host names that the operator allowed by name do not come here: they have an unguarded pool (`endpoint.py`).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Final

from aiohappyeyeballs import AddrInfoType

from worker.clients.lookup import Address, Resolver
from worker.core.addresses import Allow, is_public

logger = logging.getLogger(__name__)

# The author of the URL reads this: it says what is wrong, and never which address it was.
REFUSAL: Final = "the host leads to an address that is not public; WORKER_WEBHOOK_ALLOW opens exceptions"


class ForbiddenAddress(OSError):
    """The connection was not even tried. An OSError, because only those survive happy eyeballs."""

    def __init__(self) -> None:
        super().__init__(REFUSAL)


def permitted(address: str, *, allow: Allow) -> bool:
    """Return whether a guarded connection may go to `address`; what is no address may not."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    return is_public(ip) or allow.permits_address(ip)


class GuardedLookup:
    """Gives back the addresses of a name only if every one of them is permitted."""

    def __init__(self, lookup: Resolver, *, allow: Allow) -> None:
        self._lookup = lookup
        self._allow = allow

    async def resolve(self, host: str) -> Sequence[Address]:
        """Return all addresses of `host`, or raise ForbiddenAddress."""
        answers = await self._lookup.resolve(host)
        forbidden = [answer.host for answer in answers if not permitted(answer.host, allow=self._allow)]
        if forbidden:
            # Only the operator's log may say it: the answer to the URL's author would map our network.
            logger.info("no connection to %r: it resolves to %s, not public", host, ", ".join(forbidden))
            raise ForbiddenAddress
        return answers


def guarded_socket(*, allow: Allow) -> Callable[[AddrInfoType], socket.socket]:
    """Return the function that gives each socket, just before it connects."""

    def make(addr_info: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = addr_info
        if not permitted(str(sockaddr[0]), allow=allow):
            raise ForbiddenAddress
        return socket.socket(family=family, type=kind, proto=protocol)

    return make
