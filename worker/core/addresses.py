"""Which addresses a notify_hook may lead to: the public internet, and what the operator allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def is_public(ip: Address) -> bool:
    """Return whether `ip` belongs to a host of the public internet."""
    raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """The operator's exceptions for private receivers: networks and host names, on every port."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, items: Sequence[str]) -> Allow:
        """Read CIDRs, addresses and host names; ValueError names the item that is none of them."""
        raise NotImplementedError

    def permits_host(self, host: str) -> bool:
        """Return whether `host` was allowed by name."""
        raise NotImplementedError

    def permits_address(self, ip: Address) -> bool:
        """Return whether `ip` lies in an allowed network."""
        raise NotImplementedError
