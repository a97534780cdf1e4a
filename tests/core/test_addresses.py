from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.addresses import Address, Allow, is_public, read_literal

# First and last address of each range that no receiver on the public internet can have.
SPECIAL = [
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("168.63.129.16", "168.63.129.16"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.31.196.0", "192.31.196.255"),
    ("192.52.193.0", "192.52.193.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("192.175.48.0", "192.175.48.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "255.255.255.255"),
    ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
]


@pytest.mark.parametrize(("first", "last"), SPECIAL)
def test_a_special_range_is_refused_to_its_edges(first: str, last: str) -> None:
    """Both ends of each special range are refused, and the neighbours outside are not refused with it."""
    start, end = ip_address(first), ip_address(last)
    assert not is_public(start)
    assert not is_public(end)

    edges = {edge for low, high in SPECIAL for edge in (int(ip_address(low)) - 1, int(ip_address(high)) + 1)}
    special = [(ip_address(low), ip_address(high)) for low, high in SPECIAL]
    for number in edges & {int(start) - 1, int(end) + 1}:
        try:
            neighbour = type(start)(number)
        except ValueError:
            continue  # the range reaches the end of all addresses
        inside = any(
            type(low) is type(neighbour) and int(low) <= number <= int(high) for low, high in special
        )
        assert is_public(neighbour) is not inside


@pytest.mark.parametrize(
    "address",
    [
        "::1",
        "::",
        "::ffff:8.8.8.8",
        "::ffff:127.0.0.1",
        "::8.8.8.8",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:2::1",
        "2001:10::1",
        "2001:20::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1111%eth0",
        "fec0::1",
        "ff02::1",
        "169.254.169.254",
        "100.100.100.200",
        "192.0.0.192",
        "255.255.255.255",
    ],
)
def test_addresses_inside_somebodys_network(address: str) -> None:
    """Loopback, mapped and translated IPv4, metadata services, link-local, multicast: none is public."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "100.63.255.255",
        "172.32.0.1",
        "2606:4700:4700::1111",
        "2001:4860:4860::8888",
        "2a00::1",
    ],
)
def test_addresses_of_the_internet(address: str) -> None:
    """Ordinary addresses are public."""
    assert is_public(ip_address(address))


@given(number=st.integers(min_value=0, max_value=2**32 - 1))
def test_no_ipv4_is_public_that_python_calls_private(number: int) -> None:
    """Our table refuses at least what `ipaddress` knows to be private, and all multicast."""
    ip = IPv4Address(number)

    assert not is_public(ip) or (ip.is_global and not ip.is_multicast)


@given(number=st.integers(min_value=0, max_value=2**125 - 1))
def test_no_ipv6_is_public_that_python_calls_private(number: int) -> None:
    """The same inside `2000::/3`; everything outside of it is refused anyway."""
    ip = IPv6Address((1 << 125) + number)

    assert not is_public(ip) or (ip.is_global and not ip.is_multicast)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0x7f000001", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("::1", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("::ffff:7f00:1", "::ffff:127.0.0.1"),
    ],
)
def test_a_literal_in_any_spelling(host: str, address: str) -> None:
    """What a C library takes for an address is one."""
    assert read_literal(host) == ip_address(address)


@pytest.mark.parametrize(
    "host", ["example.com", "localhost", "1.2.3.4.5", "256.256.256.256", "", "a.0x7f", "\ud83d"]
)
def test_a_name_is_no_literal(host: str) -> None:
    """Everything else is a name."""
    assert read_literal(host) is None


def test_allow_reads_networks_addresses_and_names() -> None:
    """CIDRs, single addresses with and without brackets, and host names in any case."""
    allow = Allow.parse(["10.0.0.0/8", " 192.0.2.7 ", "[::1]", "fd00::/8", "Receiver.Internal."])

    assert allow == Allow(
        networks=(
            IPv4Network("10.0.0.0/8"),
            IPv4Network("192.0.2.7/32"),
            IPv6Network("::1/128"),
            IPv6Network("fd00::/8"),
        ),
        hosts=frozenset({"receiver.internal"}),
    )


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("10.0.0.1/8", "'10.0.0.1/8' has bits set behind its prefix: did you mean '10.0.0.0/8'?"),
        ("10.0.0.0/33", "'10.0.0.0/33' is no network (10.0.0.0/8), no address and no host name"),
        ("*.internal", "'*.internal' is no network (10.0.0.0/8), no address and no host name"),
        (
            "https://a.internal",
            "'https://a.internal' is no network (10.0.0.0/8), no address and no host name",
        ),
        ("a.internal:8080", "'a.internal:8080' is no network (10.0.0.0/8), no address and no host name"),
        ("1.2.3", "'1.2.3' is no network (10.0.0.0/8), no address and no host name"),
        ("\uff41.internal", "'\uff41.internal' is no network (10.0.0.0/8), no address and no host name"),
        ("", "'' is no network (10.0.0.0/8), no address and no host name"),
    ],
)
def test_allow_names_the_item_that_it_cannot_read(item: str, problem: str) -> None:
    """One item is wrong: the error names it and says what it could be."""
    with pytest.raises(ValueError, match=r".*") as raised:
        Allow.parse(["10.0.0.0/8", item])

    assert str(raised.value) == problem


ALLOW = Allow.parse(["10.0.0.0/8", "::1", "receiver.internal", "faß.internal"])


@pytest.mark.parametrize(
    ("address", "permitted"),
    [
        (IPv4Address("10.1.2.3"), True),
        (IPv6Address("::ffff:10.1.2.3"), True),
        (IPv6Address("::1"), True),
        (IPv4Address("11.0.0.1"), False),
        (IPv4Address("127.0.0.1"), False),
        (IPv6Address("::2"), False),
        (IPv6Address("::ffff:11.0.0.1"), False),
    ],
    ids=str,
)
def test_allow_permits_addresses(address: Address, permitted: bool) -> None:
    """An address counts by its network; one mapped into IPv6 as the IPv4 that it reaches."""
    assert ALLOW.permits_address(address) is permitted


@pytest.mark.parametrize(
    ("host", "permitted"),
    [
        ("receiver.internal", True),
        ("RECEIVER.internal.", True),
        ("x.receiver.internal", False),
        ("internal", False),
        ("fass.internal", False),
        ("faß.internal", True),
        ("xn--fa-hia.internal", True),
        ("a b", False),
        ("", False),
    ],
)
def test_allow_permits_hosts(host: str, permitted: bool) -> None:
    """A name is allowed exactly, not with what stands before or behind it."""
    assert ALLOW.permits_host(host) is permitted


def test_nothing_is_allowed_by_default() -> None:
    """Without exceptions there is none."""
    assert not Allow().permits_address(IPv4Address("127.0.0.1"))
    assert not Allow().permits_host("localhost")
