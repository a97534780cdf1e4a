"""The process's one pair of clients, built with its first use and shared by poller and dispatcher.

One pair, because connections, TLS sessions and the name look-up are worth sharing; with the first use,
because they belong to the portal's loop and must not exist in a process that only imports us.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from worker.clients.endpoint import EndpointClient
from worker.clients.gateway import GatewayClient
from worker.clients.portal import Portal, close_portal, portal
from worker.core.addresses import Allow


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """Both clients and the portal that runs them. Their coroutines must be submitted to this portal."""

    portal: Portal
    gateway: GatewayClient
    endpoint: EndpointClient

    @classmethod
    def open(
        cls,
        *,
        portal: Portal,
        allow: Allow,
        webhook_timeout: timedelta,
        nameservers: Sequence[str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> Clients:
        """Build a pair on `portal`; called from any thread but the portal's own."""

        async def build() -> Clients:
            return cls(
                portal=portal,
                gateway=GatewayClient(nameservers=nameservers, ssl_context=ssl_context),
                endpoint=EndpointClient(
                    allow=allow, timeout=webhook_timeout, nameservers=nameservers, ssl_context=ssl_context
                ),
            )

        return portal.submit(build()).result()

    def close(self) -> None:
        """Close all connections; the portal goes on."""
        self.portal.submit(self.gateway.close()).result()
        self.portal.submit(self.endpoint.close()).result()


_lock = threading.Lock()
_pair: tuple[tuple[Allow, timedelta], Clients] | None = None


def clients(*, allow: Allow, webhook_timeout: timedelta) -> Clients:
    """Return the process's pair, built now if there is none.

    A process has one configuration: asking again with other values is a mistake and raises RuntimeError.
    """
    global _pair  # noqa: PLW0603  # one per process is what this module is for
    asked = (allow, webhook_timeout)
    with _lock:
        if _pair is None:
            _pair = asked, Clients.open(portal=portal(), allow=allow, webhook_timeout=webhook_timeout)
        built_with, pair = _pair
    if built_with != asked:
        raise RuntimeError("this process has clients with other settings; close_clients() comes first")
    return pair


def close_clients() -> None:
    """Cancel what is in flight, close the pair and the portal. Without a pair it closes the portal only."""
    global _pair  # noqa: PLW0603
    with _lock:
        if _pair is not None:
            _pair[1].close()
            _pair = None
        close_portal()
