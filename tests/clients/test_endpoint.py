from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from tests.clients.hostile import (
    broken_chunks,
    broken_chunks_at_once,
    bytes_of_no_text,
    close_without_answer,
    continue_fast,
    continue_slowly,
    continue_tersely,
    continue_then_say_nothing,
    drip_body,
    drip_head,
    endless_body,
    endless_chunk_extension,
    endless_chunks,
    endless_header,
    endless_headers,
    endless_trailers,
    gzip_bomb,
    huge_body,
    packed_zeros,
    reset_at_once,
    reset_mid_body,
    reset_mid_head,
    say_nothing,
    saying,
)
from tests.clients.peers import OK, Connection, Script, answer, answering, listen, server_tls, trusting_tls
from worker.clients import endpoint
from worker.clients.endpoint import EndpointClient, Post
from worker.core.addresses import Allow
from worker.core.verdicts import Answered, Failed, PostError, PostOutcome

pytestmark = pytest.mark.anyio

LOOPBACK = Allow.parse(["127.0.0.0/8"])
LONG = timedelta(seconds=30)  # a deadline that no test reaches
ENOUGH = timedelta(seconds=1)  # a deadline that a test does reach, after the status line has come
SHORT = timedelta(milliseconds=200)  # one that it reaches with nothing
UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"


@asynccontextmanager
async def endpoint_client(
    *, allow: Allow = LOOPBACK, within: timedelta = LONG, tls: bool = False
) -> AsyncIterator[EndpointClient]:
    """Give a client that may go to loopback."""
    client = EndpointClient(allow=allow, timeout=within, ssl_context=trusting_tls() if tls else None)
    try:
        yield client
    finally:
        await client.close()


async def send(client: EndpointClient, post: Post) -> PostOutcome:
    """Post and return the outcome alone."""
    return (await client.post(post)).outcome


def post_to(port: int, path: str = "/hook", *, scheme: str = "http", body: bytes = b'{"a":1}') -> Post:
    """Make a POST to a peer on loopback."""
    headers = {"content-type": "application/json", "webhook-id": "msg_1", "user-agent": "suno-worker/0"}
    return Post(url=f"{scheme}://127.0.0.1:{port}{path}", body=body, headers=headers)


async def outcome_of(script: Script, *, within: timedelta = LONG, scheme: str = "http") -> PostOutcome:
    """Post once to a peer that runs `script`."""
    tls = server_tls() if scheme == "https" else None
    async with endpoint_client(within=within, tls=True) as client, listen(script, tls=tls) as peer:
        return await send(client, post_to(peer.port, scheme=scheme))


async def test_the_request_arrives_as_it_was_given() -> None:
    """The receiver gets our headers, the body byte for byte, and nothing invites a compressed answer."""
    async with endpoint_client() as client, answering(OK) as peer:
        assert await send(client, post_to(peer.port)) == Answered(
            status_code=200, retry_after=None, excerpt="ok"
        )
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    request_line, *lines = head.decode().lower().split("\r\n")
    assert request_line == "post /hook http/1.1"
    assert sorted(lines) == [
        "accept-encoding: identity",
        "accept: */*",
        "content-length: 7",
        "content-type: application/json",
        f"host: 127.0.0.1:{peer.port}",
        "user-agent: suno-worker/0",
        "webhook-id: msg_1",
    ]
    assert body == b'{"a":1}'


@pytest.mark.parametrize(
    "path",
    ["/a%2Fb/%2E%2E/c", "/hook?sig=a%2Fb%2Bc%20d+e&x=%2e", "/%E4%BD%A0?", "/a//b;c=1/@:!$&'()*,~", "/?a=[]"],
    ids=["segments", "signed query", "utf-8", "sub-delimiters", "brackets"],
)
async def test_the_url_is_sent_as_it_is_written(path: str) -> None:
    """No escape is undone, added or changed, for a signature may cover the URL."""
    async with endpoint_client() as client, answering(OK) as peer:
        await send(client, post_to(peer.port, path))
    sent = peer.requests[0].split(b" ")[1].decode()
    assert sent in (path, path.removesuffix("?"))


@pytest.mark.parametrize("status", [200, 204, 301, 308, 400, 404, 410, 429, 500, 503, 599])
async def test_the_status_line_is_the_outcome(status: int) -> None:
    """Every final status comes back as it is, and a redirect is not followed."""
    async with endpoint_client() as client, answering(OK) as elsewhere:
        where = f"Location: http://127.0.0.1:{elsewhere.port}/"
        async with answering(answer(b"", status=f"{status} X", headers=where)) as peer:
            outcome = await send(client, post_to(peer.port))
    assert outcome == Answered(status_code=status, retry_after=None, excerpt="")
    assert (peer.accepts, elsewhere.accepts) == (1, 0)


async def test_retry_after_is_handed_on() -> None:
    """The header comes back as text, cut to what a real one can need."""
    answers = [
        answer(b"", status="503 X", headers=f"Retry-After: {value}")
        for value in ("120", "Sun, 06 Nov 1994 08:49:37 GMT", "9" * 4000)
    ]
    async with endpoint_client() as client, answering(*answers) as peer:
        outcomes = [await send(client, post_to(peer.port)) for _ in answers]
    assert [outcome.retry_after for outcome in outcomes if isinstance(outcome, Answered)] == [
        "120",
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "9" * 64,
    ]


@pytest.mark.parametrize(
    ("script", "error"),
    [
        pytest.param(reset_at_once, PostError.RESET, id="reset"),
        pytest.param(reset_mid_head, PostError.RESET, id="reset in the head"),
        pytest.param(close_without_answer, PostError.RESET, id="closed"),
        pytest.param(drip_head, PostError.DEADLINE, id="dripping head"),
        pytest.param(say_nothing, PostError.DEADLINE, id="silence"),
        pytest.param(continue_then_say_nothing, PostError.DEADLINE, id="silence after 1xx"),
        pytest.param(continue_slowly, PostError.PROTOCOL, id="dripping 1xx"),
        pytest.param(continue_fast, PostError.PROTOCOL, id="flood of 1xx"),
        pytest.param(continue_tersely, PostError.PROTOCOL, id="flood of short 1xx"),
        pytest.param(endless_header, PostError.PROTOCOL, id="endless header"),
        pytest.param(endless_headers, PostError.PROTOCOL, id="endless headers"),
        pytest.param(saying(b"SSH-2.0-OpenSSH_9.2p1\r\n"), PostError.PROTOCOL, id="another protocol"),
        pytest.param(saying(b"\x00\xff\x15\x03\x01\x00\x02"), PostError.PROTOCOL, id="bytes"),
        pytest.param(saying(b"HTTP/1.1 two OK\r\n\r\n"), PostError.PROTOCOL, id="broken status line"),
        pytest.param(saying(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), PostError.PROTOCOL, id="broken header"),
        pytest.param(saying(UPGRADE), PostError.PROTOCOL, id="upgrade"),
        pytest.param(saying(answer(b"", status="999 X")), PostError.PROTOCOL, id="unknown status"),
    ],
)
async def test_no_status_line_is_a_failure_with_a_word(script: Script, error: PostError) -> None:
    """Whatever a peer does instead of answering ends in time, as one of the closed words."""
    outcome = await outcome_of(script, within=SHORT if error is PostError.DEADLINE else LONG)
    assert isinstance(outcome, Failed)
    assert outcome.error is error
    assert "127.0.0.1" not in outcome.detail


async def test_nobody_listens() -> None:
    """A closed port is `connection_refused`."""
    async with answering(OK) as peer:
        pass
    async with endpoint_client() as client:
        outcome = await send(client, post_to(peer.port))
    assert outcome == Failed(error=PostError.REFUSED, detail="the connection was refused")


async def test_silence_is_a_read_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connected peer that is silent for the read time ends before the total deadline."""
    monkeypatch.setattr(endpoint, "READ", timedelta(milliseconds=50))
    outcome = await outcome_of(say_nothing)
    assert outcome == Failed(error=PostError.READ_TIMEOUT, detail="no answer came in time")


async def test_a_tls_peer_that_never_greets_is_a_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for connecting covers the TLS handshake too."""
    monkeypatch.setattr(endpoint, "CONNECT", timedelta(milliseconds=50))
    async with endpoint_client(tls=True) as client, listen(say_nothing) as peer:
        outcome = await send(client, post_to(peer.port, scheme="https"))
    assert outcome == Failed(
        error=PostError.CONNECT_TIMEOUT, detail="no connection within the time for connecting"
    )


@pytest.mark.parametrize(
    "script",
    [
        reset_mid_body,
        drip_body,
        endless_body,
        broken_chunks,
        broken_chunks_at_once,
        huge_body,
        gzip_bomb,
        endless_chunks,
        endless_chunk_extension,
        endless_trailers,
        bytes_of_no_text,
    ],
)
async def test_the_status_line_decides_whatever_the_body_does(script: Script) -> None:
    """Once 200 has come in time, a body cut by reset, clock, cap or nonsense changes nothing."""
    packed_zeros()  # made before the clock runs
    outcome = await outcome_of(script, within=ENOUGH)
    assert isinstance(outcome, Answered)
    assert outcome.status_code == 200
    assert len(outcome.excerpt.encode()) <= 4096
    assert "\x00" not in outcome.excerpt


async def test_interim_answers_before_the_answer_are_skipped() -> None:
    """A few of them are HTTP; the final status is the outcome."""
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 8
    async with endpoint_client() as client, answering(interim + OK) as peer:
        outcomes = [await send(client, post_to(peer.port)) for _ in range(3)]
    assert outcomes == [Answered(status_code=200, retry_after=None, excerpt="ok")] * 3
    assert peer.accepts == 1


async def test_a_body_that_quotes_status_lines_is_a_body() -> None:
    """What counts interim answers does not mistake an answer's text for them."""
    quoted = b"HTTP/1.1 100 Continue\r\n" * 100
    async with endpoint_client() as client, answering(answer(quoted)) as peer:
        exchanges = [await client.post(post_to(peer.port)) for _ in range(2)]
    assert [exchange.outcome for exchange in exchanges] == [
        Answered(status_code=200, retry_after=None, excerpt="HTTP/1.1 100 Continue\n" * 100)
    ] * 2
    assert exchanges[1].reused


async def test_what_came_before_the_cut_is_kept() -> None:
    """The excerpt of an answer that drips until the deadline is what had come by then."""
    outcome = await outcome_of(drip_body, within=ENOUGH)
    assert isinstance(outcome, Answered)
    assert outcome.excerpt.startswith("start.")


async def test_an_answer_before_the_body_was_read_counts() -> None:
    """A peer that answers and leaves a large request unread has answered."""

    async def script(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(answer(b"too much", status="413 X"))
        await asyncio.Event().wait()

    async with endpoint_client(within=ENOUGH) as client, listen(script) as peer:
        # The body exceeds what the kernel buffers.
        outcome = await send(client, post_to(peer.port, body=b"x" * 8_000_000))
    assert outcome == Answered(status_code=413, retry_after=None, excerpt="too much")


async def test_a_large_answer_is_read_up_to_the_cap_only() -> None:
    """Of an endless answer hardly more than 16 KiB and the kernel's buffers leave the peer."""
    sent = 0

    async def script(connection: Connection) -> None:
        nonlocal sent
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await connection.send(b"x" * 65536)
            sent += 65536

    async with endpoint_client() as client, listen(script) as peer:
        outcome = await send(client, post_to(peer.port))
        await peer.ended.wait()
    assert outcome == Answered(status_code=200, retry_after=None, excerpt="x" * 4096)
    assert sent < 16 * 1024 * 1024


async def test_a_compressed_answer_is_not_unpacked() -> None:
    """A gzip bomb stays as small as it came."""
    bomb = gzip.compress(b"\x00" * 50_000_000)[:4000]
    packed = answer(bomb, headers="Content-Encoding: gzip")
    async with endpoint_client() as client, answering(packed) as peer:
        outcome = await send(client, post_to(peer.port))
    assert isinstance(outcome, Answered)
    assert outcome.status_code == 200
    assert len(outcome.excerpt.encode()) <= 4096


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"caf\xc3\xa9\n\ttab", "café\n\ttab"),
        (b"a\x00b\x1b[31mred\x07\x7f", "ab[31mred"),
        (b"bad \xff\xfe end", "bad �� end"),
        ("\u202eevil\u2028line".encode(), "evilline"),
        (b"\xff" * 5000, "�" * 1365),
        ("é".encode() * 3000, "é" * 2048),
        (b"x" + "é".encode() * 3000, "x" + "é" * 2047 + "�"),
    ],
    ids=["text", "control", "invalid", "unicode control", "growth", "cut", "cut letter"],
)
async def test_the_excerpt_is_printable_text_of_at_most_4_kib(body: bytes, excerpt: str) -> None:
    """NUL, terminal escapes and broken UTF-8 reach neither database nor terminal."""
    async with endpoint_client() as client, answering(answer(body)) as peer:
        outcome = await send(client, post_to(peer.port))
    assert isinstance(outcome, Answered)
    assert outcome.excerpt.encode()[:4095] == excerpt.encode()[:4095]
    assert len(outcome.excerpt.encode()) <= 4096


async def test_a_trusted_certificate_is_accepted() -> None:
    """HTTPS works for a receiver whose certificate our context trusts."""
    async with endpoint_client(tls=True) as client, answering(OK, tls=server_tls()) as peer:
        outcome = await send(client, post_to(peer.port, scheme="https"))
    assert outcome == Answered(status_code=200, retry_after=None, excerpt="ok")


async def test_an_unknown_authority_is_a_tls_error() -> None:
    """A self-signed certificate is refused before anything is sent, and the detail says why."""
    async with endpoint_client() as client, answering(OK, tls=server_tls()) as peer:
        outcome = await send(client, post_to(peer.port, scheme="https"))
    assert outcome == Failed(
        error=PostError.TLS, detail="the certificate is not accepted: self-signed certificate"
    )
    assert peer.requests == []


async def test_a_certificate_for_another_name_is_a_tls_error() -> None:
    """The name in the URL must be the name in the certificate."""
    by_name = Allow.parse(["localhost"])
    async with endpoint_client(allow=by_name, tls=True) as client, answering(OK, tls=server_tls()) as peer:
        url = f"https://localhost:{peer.port}/"
        outcome = await send(client, Post(url=url, body=b"", headers={}))
    assert isinstance(outcome, Failed)
    assert outcome.error is PostError.TLS
    assert "localhost" in outcome.detail
    assert peer.requests == []


async def test_plain_http_behind_https_is_a_tls_error() -> None:
    """A peer that does not speak TLS is named as that."""

    async def script(connection: Connection) -> None:
        await connection.send(answer(b"Bad Request", status="400 X"))

    async with endpoint_client(tls=True) as client, listen(script) as peer:
        outcome = await send(client, post_to(peer.port, scheme="https"))
    assert isinstance(outcome, Failed)
    assert outcome.error is PostError.TLS


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/x",
        "http://",
        "http:///x",
        "//127.0.0.1/x",
        "127.0.0.1",
        "http://127.0.0.1:99999/",
        "",
        "http://[::1/",
    ],
)
async def test_what_is_no_http_url_is_a_failure(url: str) -> None:
    """A row that holds a broken URL ends as a word, not as an exception."""
    async with endpoint_client() as client:
        outcome = await send(client, Post(url=url, body=b"", headers={}))
    assert isinstance(outcome, Failed)
    assert outcome.error is PostError.INVALID_URL


async def test_connections_are_kept_and_cookies_are_not() -> None:
    """Two posts share a connection; what the first answer set as a cookie is not sent with the second."""
    with_cookie = answer(b"", headers="Set-Cookie: a=b; Path=/")
    by_name = Allow.parse(["localhost"])  # cookie jars keep nothing for bare addresses
    async with endpoint_client(allow=by_name) as client, answering(with_cookie) as peer:
        for _ in range(2):
            await send(client, Post(url=f"http://localhost:{peer.port}/", body=b"", headers={}))
    assert peer.accepts == 1
    assert len(peer.requests) == 2
    assert b"cookie" not in peer.requests[1].lower()


async def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment would connect in our place, beyond the address guard."""
    async with answering(OK) as proxy, answering(OK) as peer, endpoint_client() as client:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await send(client, post_to(peer.port))
    assert (proxy.accepts, peer.accepts) == (0, 1)


async def test_a_hanging_receiver_delays_nobody() -> None:
    """While 300 posts hang at one receiver, a post to another one is answered."""
    async with endpoint_client() as client, listen(say_nothing) as dead, answering(OK) as healthy:
        hanging = [asyncio.create_task(client.post(post_to(dead.port))) for _ in range(300)]
        await asyncio.sleep(0)
        outcome = await send(client, post_to(healthy.port))
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert outcome == Answered(status_code=200, retry_after=None, excerpt="ok")
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)


async def test_a_cancelled_post_lets_go_of_its_connection() -> None:
    """Cancelling raises CancelledError and closes the connection, so nothing is left behind."""
    arrived = asyncio.Event()

    async def script(connection: Connection) -> None:
        await connection.request()
        arrived.set()
        await connection.reader.read()

    async with endpoint_client() as client, listen(script) as peer:
        posting = asyncio.create_task(client.post(post_to(peer.port)))
        await arrived.wait()
        posting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await posting
        await peer.ended.wait()


async def test_a_closed_client_fails_with_a_word() -> None:
    """A post that comes after the end of the process's clients raises nothing."""
    async with endpoint_client() as client:
        pass
    outcome = await send(client, post_to(1))
    assert isinstance(outcome, Failed)
    assert outcome.error is PostError.INTERNAL
