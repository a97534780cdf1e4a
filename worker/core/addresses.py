"""Which addresses a notify_hook may lead to: the public internet, and what the operator allows.

A notify_hook is a stranger's URL, and the worker stands inside somebody's network. So an address is refused
unless it is known to be public: for IPv6 that is `2000::/3` less its special ranges, for IPv4 everything
less the special ranges of the IANA registry, multicast and the platform address of Azure.
`ipaddress.is_global` is not used: it passes 20 of 54 addresses that must be refused, 6to4 and multicast
among them.

Limit: a public address of our own network (a router's outside, a host without a firewall) looks like any
other.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from worker.core.hosts import normal_host

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_FORBIDDEN_IPV4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this host
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier NAT, cloud-internal services
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform services, from inside any of its machines
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT relays
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PUBLIC_IPV6 = IPv6Network(
    "2000::/3"
)  # so no loopback, mapped IPv4, NAT64, unique local, link-local, multicast
_FORBIDDEN_IPV6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address inside
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)


def is_public(ip: Address) -> bool:
    """Return whether `ip` belongs to a host of the public internet."""
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _FORBIDDEN_IPV4)
    return (
        ip.scope_id is None and ip in _PUBLIC_IPV6 and not any(ip in network for network in _FORBIDDEN_IPV6)
    )


def read_literal(host: str) -> Address | None:
    """Return the address that `host` is to any resolver, or None for a name.

    C libraries also take octal, hexadecimal, decimal and shortened IPv4 (`0177.1`, `0x7f000001`, `127.1`).
    """
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """The operator's exceptions for private receivers: networks and host names, on every port."""

    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, items: Sequence[str]) -> Allow:
        """Read CIDRs, addresses and host names; ValueError names the item that is none of them."""
        networks: list[Network] = []
        hosts: set[str] = set()
        for item in items:
            read = _read_item(item.strip())
            if isinstance(read, str):
                hosts.add(read)
            else:
                networks.append(read)
        return cls(networks=tuple(networks), hosts=frozenset(hosts))

    def permits_host(self, host: str) -> bool:
        """Return whether `host` was allowed by name: then all its addresses are."""
        try:
            return normal_host(host) in self.hosts
        except ValueError:
            return False

    def permits_address(self, ip: Address) -> bool:
        """Return whether `ip` lies in an allowed network; mapped IPv4 counts as the IPv4 it reaches."""
        mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
        return any((mapped or ip) in network for network in self.networks)


def _read_item(item: str) -> Network | str:
    """Return one item as a network or a host name."""
    bare = item.removeprefix("[").removesuffix("]")
    try:
        return ip_network(bare)
    except ValueError:
        pass
    try:
        loose = ip_network(bare, strict=False)
    except ValueError:
        loose = None
    if loose is not None:
        raise ValueError(f"{item!r} has bits set behind its prefix: did you mean {str(loose)!r}?")
    try:
        name = normal_host(item)
    except ValueError:
        name = ""
    if not name or name.rpartition(".")[2].isdigit():
        raise ValueError(f"{item!r} is no network (10.0.0.0/8), no address and no host name")
    return name
