"""Host names to addresses, cancellable and bounded: a dead name server holds one request and no thread.

`getaddrinfo` blocks a thread for up to half a minute and cannot be cancelled: sixteen dead names would stop
all others. c-ares (aiodns) asks in the background instead. It reads /etc/hosts and /etc/resolv.conf with
their search domains, and follows changes of both; it knows no other source of names (mDNS, NIS, LDAP).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import aiodns

# Below the 5 s for a whole connect, so that a silent name server is reported as what it is.
LOOKUP_TIMEOUT: Final = timedelta(seconds=4)

# c-ares asks each server twice, for 1.5 s and then 3 s, and so forgets a question soon after we do.
FIRST_TRY: Final = timedelta(seconds=1.5)
TRIES: Final = 2

_NO_MORE_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE})
_SILENCE: Final = frozenset({aiodns.error.ARES_ETIMEOUT, aiodns.error.ARES_ECONNREFUSED})
_NO_SUCH_NAME: Final = frozenset({aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA})


class LookupFailed(OSError):
    """No address for this name. Its text is safe to show: it repeats nothing of the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One address of a name."""

    family: int
    host: str
    scope: int = 0  # of a link-local IPv6 address


class Resolver(Protocol):
    """Knows the addresses of names."""

    async def resolve(self, host: str) -> Sequence[Address]:
        """Return all addresses of `host`, at least one, or raise an OSError."""


class Lookup:
    """Asks the system's name servers, or `nameservers` ("192.0.2.1" or "127.0.0.1:5353").

    To be built on the event loop that it will serve.
    """

    def __init__(self, *, nameservers: Sequence[str] | None = None) -> None:
        self._resolver = aiodns.DNSResolver(
            nameservers=nameservers, timeout=FIRST_TRY.total_seconds(), tries=TRIES
        )

    async def resolve(self, host: str) -> Sequence[Address]:
        """Return all addresses of `host` within 4 s, or raise LookupFailed, or OSError for what we lack."""
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT.total_seconds()):
                found = await self._resolver.getaddrinfo(
                    host, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
        except TimeoutError:
            raise LookupFailed("the name servers did not answer in time") from None
        except aiodns.error.DNSError as error:
            _end_if_no_file_can_be_opened()
            raise LookupFailed(_reason(error.args[0])) from error
        addresses = [_read(node.family, *node.addr) for node in found.nodes]
        if not addresses:
            raise LookupFailed(_reason(aiodns.error.ARES_ENODATA))
        return addresses

    async def close(self) -> None:
        """Drop the questions that still wait."""
        await self._resolver.close()


def _read(family: int, host: bytes, port: int, flow: int = 0, scope: int = 0) -> Address:
    del port, flow
    return Address(family=family, host=host.decode("ascii"), scope=scope)


def _end_if_no_file_can_be_opened() -> None:
    """Raise the system's OSError then: c-ares, which gets no socket, says that the servers refuse to answer.

    Such a failure would count against the host. A shortage that has ended in between is not seen.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno in _NO_MORE_FILES:  # and not where there is no such device
            raise


def _reason(code: int) -> str:
    """Say in our words why a look-up failed."""
    if code in _SILENCE:
        return "the name servers did not answer in time"
    if code in _NO_SUCH_NAME:
        return "the host name has no address"
    return "the name servers could not answer"
