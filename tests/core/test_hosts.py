from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from worker.core.hosts import host_of, normal_host


@pytest.mark.parametrize(
    ("host", "normal"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("snake_case.internal", "snake_case.internal"),
        ("xn--a.example", "xn--a.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example.", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("βόλος.example", "xn--nxasmm1c.example"),
        ("127。0。0。1", "127.0.0.1"),
    ],
)
def test_a_host_as_it_goes_on_the_wire(host: str, normal: str) -> None:
    """Lower case, IDNA 2008, without the final dot; the dots of other scripts are dots."""
    assert normal_host(host) == normal
    assert normal_host(normal) == normal


@pytest.mark.parametrize(
    "host",
    [
        *["", ".", "a..b", "a.。", "a b", "a%62", "*", "a/b", "x" * 64, "ü" * 64, "ü." * 60, "[::1]", "a:80"],
        *["①②⑦.0.0.1", "\uff41.example", "☃.example", "-ü.example", "ü.xn--a", "\ud83d"],
    ],
    ids=ascii,
)
def test_what_is_no_host(host: str) -> None:
    """Empty, too long and odd labels cannot be looked up, nor what IDNA 2008 does not know."""
    with pytest.raises(ValueError, match=r".*"):
        normal_host(host)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://Example.com.:81/", "example.com"),
        ("http://faß.example/", "xn--fa-hia.example"),
        ("http://[2001:DB8:0::1]/", "2001:db8::1"),
        ("http://192.0.2.7/", "192.0.2.7"),
    ],
)
def test_the_host_of_a_url(url: str, host: str) -> None:
    """A name or an address, without brackets."""
    assert host_of(urlsplit(url)) == host
