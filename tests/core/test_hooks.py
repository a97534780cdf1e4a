from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.addresses import Allow
from worker.core.hooks import BadHook, check_notify_hook

NOTHING = Allow()


@pytest.mark.parametrize(
    "url",
    [
        "https://receiver.example/hook",
        "http://receiver.example",
        "HTTPS://Receiver.Example/hook?token=a%20b#x",
        "https://receiver.example:443/hook",
        "https://receiver.example:80/hook",
        "http://receiver.example:1024/",
        "http://receiver.example:65535/",
        "http://receiver.example:/",
        "https://bücher.example/späße",
        "https://8.8.8.8/hook",
        "https://[2606:4700:4700::1111]:8443/hook",
        "https://receiver.example./hook",
        "http://snake_case.example/hook",
        "http://localhost:8080/hook",
        "https://receiver.example/" + "x" * 2023,
    ],
    ids=lambda url: url[:60],
)
def test_a_hook_that_can_be_called(url: str) -> None:
    """Web URLs pass unchanged; names are judged later, when they are resolved."""
    assert check_notify_hook(url, allow=NOTHING) == url


SCHEME = "must start with http:// or https://"
SPACE = "holds a space or a control character; percent-encode it"
NAME = "the host is no name that can be looked up, and no address"
NUMBER = "the host ends in a number but is no IPv4 address"
USER = "holds a user name or password before the host; put a token into the path or the query"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", SCHEME),
        ("receiver.example/hook", SCHEME),
        ("//receiver.example/hook", SCHEME),
        ("ftp://receiver.example/", SCHEME),
        ("file:///etc/passwd", SCHEME),
        ("gopher://receiver.example", SCHEME),
        ("http:///hook", "names no host"),
        ("http:hook", "names no host"),
        ("http://:8080/", "names no host"),
        ("https://receiver.example/" + "x" * 2024, "has 2049 characters; at most 2048 are kept"),
        ("https://receiver.example/a b", SPACE),
        (" https://receiver.example/", SPACE),
        ("https://receiver.example/\n", SPACE),
        ("https://receiver.example/\r\nx: y", SPACE),
        ("https://receiver.example/\t", SPACE),
        ("https://receiver.example/\x00", SPACE),
        ("https://receiver.example/\x7f", SPACE),
        ("https://receiver.example/\u2028", SPACE),
        ("https://receiver.example/\u202e", SPACE),
        ("https://receiver.example/\ud83d", SPACE),
        ("https://user@receiver.example/", USER),
        ("https://user:secret@receiver.example/", USER),
        ("https://@receiver.example/", USER),
        ("https://receiver.example\\@127.0.0.1/", "holds a backslash; percent-encode it as %5C"),
        ("https://receiver.example/\\", "holds a backslash; percent-encode it as %5C"),
        ("https://receiver.example:x/", "is no URL: its host or port cannot be read"),
        ("https://receiver.example:65536/", "is no URL: its host or port cannot be read"),
        ("https://user:secret@re\u2100.example/", "is no URL: its host or port cannot be read"),
        ("https://[::1/", "is no URL: its host or port cannot be read"),
        ("https://receiver.example:0/", "port 0 is refused: use 80, 443 or 1024-65535"),
        ("https://receiver.example:1:2/", "is no URL: its host or port cannot be read"),
        ("https://evil[::1]/", NAME),
        ("https://[::1]evil/", NAME),
        ("https://[8.8.8.8]/", "is no URL: its host or port cannot be read"),
        ("https://[fe80::1%25eth0]/", NAME),
        ("https://a..example/", NAME),
        ("https://%31%32%37.0.0.1/", NAME),
        ("https://*.example/", NAME),
        ("https://①②⑦.0.0.1/", NAME),
        ("https://\uff11\uff12\uff17.0.0.1/", NAME),
        ("https://\uff41.example/", NAME),
        ("https://☃.example/", NAME),
        ("https://a\u200db.example/", SPACE),
        ("https://ü.xn--a/", NAME),
        ("https://" + "ü." * 60 + "example/", NAME),
        ("https://1.2.3.4.5/", NUMBER),
        ("https://256.256.256.256/", NUMBER),
        ("https://example.0x7f/", NUMBER),
    ],
    ids=lambda value: ascii(value)[:50],
)
def test_a_hook_that_cannot_be_called(url: str, problem: str) -> None:
    """Each error names the one problem and never echoes what may be a password."""
    with pytest.raises(BadHook) as raised:
        check_notify_hook(url, allow=NOTHING)

    assert str(raised.value) == problem


@pytest.mark.parametrize("port", [1, 22, 25, 79, 81, 442, 444, 1023])
def test_low_ports_are_refused(port: int) -> None:
    """Below 1024 only 80 and 443 speak HTTP; the error says how to make an exception."""
    with pytest.raises(BadHook) as raised:
        check_notify_hook(f"https://receiver.example:{port}/", allow=NOTHING)

    assert str(raised.value) == (
        f"port {port} is refused: use 80, 443 or 1024-65535, or WORKER_WEBHOOK_ALLOW opens exceptions"
    )


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "168.63.129.16",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ],
)
def test_literal_addresses_inside_are_refused(host: str) -> None:
    """An address that is not public is refused at the door, and the error says how to make an exception."""
    with pytest.raises(
        BadHook,
        match=r"^\S+ is no public address; WORKER_WEBHOOK_ALLOW opens exceptions for private receivers$",
    ):
        check_notify_hook(f"http://{host}:8080/hook", allow=NOTHING)


@pytest.mark.parametrize("allow", [NOTHING, Allow.parse(["127.0.0.0/8"])], ids=["closed", "allowed"])
@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "127。0。0。1",
        "127.0.0.01",
    ],
    ids=ascii,
)
def test_odd_spellings_of_an_address_are_refused(host: str, allow: Allow) -> None:
    """Parsers disagree about them, so they are refused also where the address is allowed."""
    with pytest.raises(BadHook, match=r"^write the address as 127\.0\.0\.1$"):
        check_notify_hook(f"http://{host}/", allow=allow)


@pytest.mark.parametrize(
    ("url", "items"),
    [
        ("http://127.0.0.1:9/hook", ["127.0.0.0/8"]),
        ("http://[::1]:22/hook", ["::1"]),
        ("http://[::ffff:10.0.0.1]/hook", ["10.0.0.0/8"]),
        ("http://receiver.internal:81/hook", ["receiver.internal"]),
        ("http://RECEIVER.internal.:81/hook", ["receiver.internal"]),
    ],
)
def test_exceptions_open_every_port(url: str, items: list[str]) -> None:
    """What the operator allows is allowed on every port, and only that."""
    assert check_notify_hook(url, allow=Allow.parse(items)) == url
    with pytest.raises(BadHook):
        check_notify_hook(url, allow=Allow.parse(["192.0.2.0/24", "other.internal"]))


@given(url=st.text() | st.text(alphabet="http:/[]@.%0127x\\#?a").map("http://{}".format))
def test_any_text_is_judged(url: str) -> None:
    """Whatever comes in is returned unchanged or refused with a BadHook, never another error."""
    try:
        checked = check_notify_hook(url, allow=NOTHING)
    except BadHook:
        return
    assert checked == url
