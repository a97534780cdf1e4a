"""Host names to addresses, cancellable and bounded: a dead name server holds one request and no thread.

`getaddrinfo` blocks a thread for up to half a minute and cannot be cancelled: sixteen dead names would stop
all others. c-ares (aiodns) asks in the background instead. It reads /etc/hosts and /etc/resolv.conf with
their search domains, and follows changes of both; it knows no other source of names (mDNS, NIS, LDAP).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import aiodns
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import AsyncResolver

# Below the 5 s for a whole connect, so that a silent name server is reported as what it is.
LOOKUP_TIMEOUT: Final = timedelta(seconds=4)

# c-ares asks each server twice, for 1.5 s and then 3 s, and so forgets a question soon after we do.
FIRST_TRY: Final = timedelta(seconds=1.5)
TRIES: Final = 2

_SILENCE: Final = frozenset({aiodns.error.ARES_ETIMEOUT, aiodns.error.ARES_ECONNREFUSED})
_NO_SUCH_NAME: Final = frozenset({aiodns.error.ARES_ENOTFOUND, aiodns.error.ARES_ENODATA})


class LookupFailed(OSError):
    """No address for this name. Its text is safe to show: it repeats nothing of the answer."""


class Lookup(AbstractResolver):
    """Asks the system's name servers, or `nameservers` ("192.0.2.1" or "127.0.0.1:5353").

    To be built on the event loop that it will serve.
    """

    def __init__(self, *, nameservers: Sequence[str] | None = None) -> None:
        self._resolver = AsyncResolver(
            nameservers=nameservers, timeout=FIRST_TRY.total_seconds(), tries=TRIES
        )

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return all addresses of `host` within 4 s, or raise LookupFailed."""
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT.total_seconds()):
                return await self._resolver.resolve(host, port, family)
        except TimeoutError:
            raise LookupFailed("the name servers did not answer in time") from None
        except OSError as error:
            raise LookupFailed(_reason(error)) from error

    async def close(self) -> None:
        """Drop the questions that still wait."""
        await self._resolver.close()


def _reason(error: OSError) -> str:
    """Say in our words why a look-up failed; aiohttp keeps c-ares' number in the cause."""
    code = error.__cause__.args[0] if isinstance(error.__cause__, aiodns.error.DNSError) else None
    if code in _SILENCE:
        return "the name servers did not answer in time"
    if code in _NO_SUCH_NAME:
        return "the host name has no address"
    return "the name servers could not answer"
