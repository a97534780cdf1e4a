from __future__ import annotations

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.clients.target import Peer, Target, compose
from worker.core.addresses import Allow
from worker.core.hooks import BadHook, check_notify_hook
from worker.core.webhook import origin_of

EVERYWHERE = Allow.parse(["0.0.0.0/0", "::/0", "receiver.test"])


@pytest.mark.parametrize(
    ("url", "peer", "authority", "path"),
    [
        ("http://h.test", Peer("h.test", 80, tls=False), "h.test", "/"),
        ("https://h.test:443/a?b=c#d", Peer("h.test", 443, tls=True), "h.test", "/a?b=c"),
        ("https://h.test:8443/", Peer("h.test", 8443, tls=True), "h.test:8443", "/"),
        ("http://[2001:DB8::1]:81/", Peer("2001:db8::1", 81, tls=False), "[2001:db8::1]:81", "/"),
        ("http://bücher.test/ä", Peer("xn--bcher-kva.test", 80, tls=False), "xn--bcher-kva.test", "/%C3%A4"),
        ("http://faß.test/", Peer("xn--fa-hia.test", 80, tls=False), "xn--fa-hia.test", "/"),
        ("http://xn--a.test/", Peer("xn--a.test", 80, tls=False), "xn--a.test", "/"),
        ("http://H.test.:81/", Peer("h.test.", 81, tls=False), "h.test.:81", "/"),
        ("http://h.test/%2E%2E/a%2Fb", Peer("h.test", 80, tls=False), "h.test", "/%2E%2E/a%2Fb"),
    ],
)
def test_a_url_is_read_once_for_all(url: str, peer: Peer, authority: str, path: str) -> None:
    """Where to connect, what Host says, and the path as it is written."""
    target = Target.of(url)
    assert (target.peer, target.authority, target.path) == (peer, authority, path)


@pytest.mark.parametrize(
    "url", ["", "h.test", "//h.test/", "ftp://h.test/", "http://", "http://h:99999/", "http://\uff41.test/"]
)
def test_what_cannot_be_asked_is_no_target(url: str) -> None:
    """Neither a scheme of ours nor a host."""
    with pytest.raises((ValueError, httpx.InvalidURL)):
        Target.of(url)


# Letters that parsers and codecs read in two ways, beside plain ones.
_TEXTS = st.text() | st.text(
    alphabet="aZ0-_.ßẞςΣ\u017fKİ\u0131Å\uff41①。\uff0e☃\u200c\u200d\u0661é", min_size=1
)
_HOSTS = (
    _TEXTS
    | st.tuples(_TEXTS, st.sampled_from([".test", ".xn--a", ".xn--fa-hia", ".", "。"])).map("".join)
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map("[{}]".format)
)


@example(scheme="http", host="faß.test", port="", rest="/")
@example(scheme="http", host="\uff41.test", port="", rest="/")
@example(scheme="http", host="xn--a.test", port="", rest="/")
@given(
    scheme=st.sampled_from(["http", "HTTPS"]),
    host=_HOSTS,
    port=st.sampled_from(["", ":", ":80", ":443", ":8080", ":1"]),
    rest=st.sampled_from(["", "/", "/a?b#c", "?a", "#a", "/%zz"]) | st.text(max_size=5).map("/{}".format),
)
def test_who_is_judged_is_who_is_connected_to(scheme: str, host: str, port: str, rest: str) -> None:
    """Every hook that passes the door can be asked, at the host and port that its origin names."""
    url = f"{scheme}://{host}{port}{rest}"
    try:
        check_notify_hook(url, allow=EVERYWHERE)
    except BadHook:
        return
    target = Target.of(url)
    peer = target.peer
    name = peer.host.removesuffix(".")
    where = f"[{name}]" if ":" in name else name
    assert origin_of(url) == f"{'https' if peer.tls else 'http'}://{where}:{peer.port}"
    assert httpx.URL(f"http://{target.authority}").raw_host.decode().removesuffix(".") == name


@pytest.mark.parametrize(
    "url",
    ["http://faß.test/", "http://[2001:db8::1]:8080/", "https://Receiver.test.:81/", "http://127.0.0.1/"],
)
def test_such_hooks_pass_the_door(url: str) -> None:
    """The property above speaks of more than names in plain ASCII."""
    assert check_notify_hook(url, allow=EVERYWHERE) == url


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
