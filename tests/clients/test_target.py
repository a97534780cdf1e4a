from __future__ import annotations

import httpx
import pytest

from worker.clients.target import Peer, Target, compose


@pytest.mark.parametrize(
    ("url", "peer", "authority", "path"),
    [
        ("http://h.test", Peer("h.test", 80, tls=False), "h.test", "/"),
        ("https://h.test:443/a?b=c#d", Peer("h.test", 443, tls=True), "h.test", "/a?b=c"),
        ("https://h.test:8443/", Peer("h.test", 8443, tls=True), "h.test:8443", "/"),
        ("http://[2001:DB8::1]:81/", Peer("2001:DB8::1", 81, tls=False), "[2001:DB8::1]:81", "/"),
        ("http://bücher.test/ä", Peer("xn--bcher-kva.test", 80, tls=False), "xn--bcher-kva.test", "/%C3%A4"),
        ("http://h.test/%2E%2E/a%2Fb", Peer("h.test", 80, tls=False), "h.test", "/%2E%2E/a%2Fb"),
    ],
)
def test_a_url_is_read_once_for_all(url: str, peer: Peer, authority: str, path: str) -> None:
    """Where to connect, what Host says, and the path as it is written."""
    target = Target.of(url)
    assert (target.peer, target.authority, target.path) == (peer, authority, path)


@pytest.mark.parametrize("url", ["", "h.test", "//h.test/", "ftp://h.test/", "http://", "http://h:99999/"])
def test_what_cannot_be_asked_is_no_target(url: str) -> None:
    """Neither a scheme of ours nor a host."""
    with pytest.raises((ValueError, httpx.InvalidURL)):
        Target.of(url)


@pytest.mark.parametrize(
    ("body", "rest"), [(None, b""), (b"", b"content-length: 0\r\n"), (b"xy", b"content-length: 2\r\n")]
)
def test_a_request_is_composed(body: bytes | None, rest: bytes) -> None:
    """Byte for byte; a request without a body has no length."""
    sent = compose("GET", Target.of("http://h.test/a"), headers={"a": "b"}, body=body)
    assert sent == b"GET /a HTTP/1.1\r\nhost: h.test\r\na: b\r\n" + rest + b"\r\n" + (body or b"")


@pytest.mark.parametrize("value", ["a\r\nx: y", "a\nx: y", "a\rx: y"])
@pytest.mark.parametrize("place", ["name", "value"])
def test_no_header_smuggles_another_in(value: str, place: str) -> None:
    """A line break in a header's name or value is refused."""
    headers = {value: "v"} if place == "name" else {"n": value}
    with pytest.raises(ValueError, match="line break"):
        compose("GET", Target.of("http://h.test/"), headers=headers, body=None)
