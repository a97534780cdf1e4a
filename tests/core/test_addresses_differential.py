"""Our table of addresses beside that of ssrfguard, which was made from the IANA registries by others."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ssrfguard import DEFAULT_DENIED, Policy, SSRFGuardError

from worker.core.addresses import Address, Allow, Network, is_public
from worker.core.hooks import BadHook, check_notify_hook

# Where ssrfguard lets pass what we refuse. There is no range the other way round.
ANYCAST = "whoever is nearest answers, mostly equipment of our own network, never somebody's receiver"
EMBEDDED = "an IPv4 address in disguise, translated by whoever is near: write the IPv4 address itself"
UNUSED = "outside 2000::/3 nothing is given to hosts of the internet: what answers there is inside"
STRICTER = [
    ("168.63.129.16/32", "Azure's platform services, reachable from inside any machine of Azure"),
    ("192.0.0.9/32", ANYCAST),
    ("192.0.0.10/32", ANYCAST),
    ("192.31.196.0/24", ANYCAST),
    ("192.52.193.0/24", ANYCAST),
    ("192.175.48.0/24", ANYCAST),
    ("2620:4f:8000::/48", ANYCAST),
    ("2001:1::/126", ANYCAST),
    ("2001:3::/32", ANYCAST),
    ("2001:4:112::/48", ANYCAST),
    ("2001:20::/28", "ORCHIDv2: identifiers that no packet may carry; a router that carries them is ours"),
    ("2001:30::/28", "tags of drones, not addresses of hosts"),
    ("2001::/32", EMBEDDED),
    ("2002::/16", EMBEDDED),
    ("::/3", UNUSED),  # with ::/96, ::ffff:0:0/96 and 64:ff9b::/96, which are also EMBEDDED
    ("4000::/2", UNUSED),
    ("8000::/1", UNUSED),
]
SEED = 20261121
BITS = {4: 32, 6: 128}


def made(version: int, number: int) -> Address:
    """Return the address with this number."""
    return IPv4Address(number) if version == IPv4Address(0).version else IPv6Address(number)


def around(network: Network, *, dice: random.Random) -> Iterator[Address]:
    """Yield the ends of a network, their neighbours, and addresses inside it."""
    first, last, bits = int(network[0]), int(network[-1]), BITS[network.version]
    inside = [dice.randint(first, last) for _ in range(20)]
    for number in {first - 1, first, first + 1, last - 1, last, last + 1, *inside}:
        if 0 <= number < 2**bits:
            yield made(network.version, number)


def addresses() -> Iterator[Address]:
    """Yield what is around every range of either table, every /12 of both families, and random ones."""
    dice = random.Random(SEED)  # noqa: S311 - the same addresses in each run
    for block in DEFAULT_DENIED.blocks:
        yield from around(block.network, dice=dice)
    for text, _ in STRICTER:
        yield from around(ip_network(text), dice=dice)
    for version, bits in BITS.items():
        for number in range(2**12):
            yield made(version, number << bits - 12)
            yield made(version, (number << bits - 12) + dice.getrandbits(bits - 12))
    for wrapper in ("::", "::ffff:0:0", "64:ff9b::", "::ffff:0:0:0"):
        for _ in range(500):
            yield IPv6Address(int(IPv6Address(wrapper)) + dice.getrandbits(32))
    for _ in range(500):
        inner = dice.getrandbits(32)
        yield IPv6Address((0x2002 << 112) + (inner << 80) + dice.getrandbits(80))
        yield IPv6Address((0x20010000 << 96) + (inner << 64) + dice.getrandbits(64))


def stricter_here(ip: Address) -> bool:
    """Return whether the table above says that we refuse what they let pass."""
    return any(ip in ip_network(text) for text, _ in STRICTER)


def test_whatever_they_refuse_we_refuse_and_the_rest_is_explained() -> None:
    """Of about 20,000 addresses none is public for us alone; each that only we refuse is in the table."""
    judged = {ip: (is_public(ip), not DEFAULT_DENIED.classify(ip).blocked) for ip in addresses()}

    assert len(judged) > 18_000
    assert [str(ip) for ip, (ours, theirs) in judged.items() if ours and not theirs] == []
    assert [
        str(ip) for ip, (ours, theirs) in judged.items() if theirs and not ours and not stricter_here(ip)
    ] == []


@pytest.mark.parametrize(("text", "why"), STRICTER)
def test_the_table_of_differences_holds(text: str, why: str) -> None:
    """We refuse all of each range, and they let some of it pass: no row outlives its reason."""
    network = ip_network(text)
    some = list(around(network, dice=random.Random(SEED)))  # noqa: S311 - the same addresses in each run
    inside = [ip for ip in some if ip in network]

    assert why
    assert not any(is_public(ip) for ip in inside)
    assert any(not DEFAULT_DENIED.classify(ip).blocked for ip in inside)


@given(number=st.integers(min_value=0, max_value=2**32 - 1))
def test_ipv4_anywhere(number: int) -> None:
    """No IPv4 address that they refuse is public."""
    ip = IPv4Address(number)

    assert is_public(ip) <= (not DEFAULT_DENIED.classify(ip).blocked)


@given(number=st.integers(min_value=0, max_value=2**125 - 1))
def test_ipv6_in_the_range_of_hosts(number: int) -> None:
    """No IPv6 address of 2000::/3 that they refuse is public."""
    ip = IPv6Address((1 << 125) + number)

    assert is_public(ip) <= (not DEFAULT_DENIED.classify(ip).blocked)


@pytest.mark.parametrize("table", [IPv4Network, IPv6Network])
def test_every_range_of_the_iana_registries_is_ours(table: type[Network]) -> None:
    """Their list of special ranges, a transcript of both registries, is refused from end to end."""
    ranges = [block.network for block in DEFAULT_DENIED.blocks if isinstance(block.network, table)]

    assert len(ranges) > 25
    assert [str(one) for one in ranges if is_public(one[0]) or is_public(one[-1])] == []


SPELLINGS: dict[str, Callable[[int], str]] = {
    "dotted": lambda n: str(IPv4Address(n)),
    "decimal": str,
    "hexadecimal": hex,
    "octal": lambda n: f"0{n:o}",
    "octal parts": lambda n: ".".join(f"0{part:o}" for part in IPv4Address(n).packed),
    "hexadecimal parts": lambda n: ".".join(hex(part) for part in IPv4Address(n).packed),
    "two parts": lambda n: f"{n >> 24}.{n & 0xFFFFFF}",
    "three parts": lambda n: f"{n >> 24}.{n >> 16 & 0xFF}.{n & 0xFFFF}",
    "mapped": lambda n: f"[::ffff:{IPv4Address(n)}]",
    "mapped in hexadecimal": lambda n: f"[::ffff:{n >> 16:x}:{n & 0xFFFF:x}]",
    "compatible": lambda n: f"[::{IPv4Address(n)}]",
    "NAT64": lambda n: f"[64:ff9b::{IPv4Address(n)}]",
    "6to4": lambda n: f"[2002:{n >> 16:x}:{n & 0xFFFF:x}::1]",
    "full width": lambda n: str(IPv4Address(n)).translate(
        {48 + digit: 0xFF10 + digit for digit in range(10)}
    ),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(number=st.integers(min_value=0, max_value=2**32 - 1))
def test_no_spelling_opens_what_they_keep_shut(spelling: str, number: int) -> None:
    """However an address is written into a URL, the door lets nothing pass that they do not."""
    url = f"http://{SPELLINGS[spelling](number)}/hook"
    try:
        check_notify_hook(url, allow=Allow())
    except BadHook:
        return
    try:
        target = Policy().check_url(url)
    except SSRFGuardError:
        pytest.fail(f"{url} passes our door only")
    assert target.host == str(IPv4Address(number))
