from __future__ import annotations

import gc

import pytest
from httptools import HttpResponseParser

from worker.clients.response import HEAD_LIMIT, NotHttp, Response, TooMuch

FINAL = b"HTTP/1.1 200 OK\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
INTERIM = b"HTTP/1.1 100 \r\n\r\n"


def hear(*pieces: bytes, body_limit: int = 50, most_bytes: int = 98) -> Response:
    """Let an answer come in pieces."""
    response = Response(body_limit=body_limit, most_bytes=most_bytes)
    for piece in pieces:
        response.hear(piece)
    return response


def test_an_answer_that_has_not_begun_has_no_parser() -> None:
    """A thousand are waited for at the same time, and a parser takes as much memory as all the rest."""
    waiting = Response(body_limit=50, most_bytes=98)
    begun = hear(SIZED)
    assert [has_parser(waiting), has_parser(begun)] == [False, True]
    for response in (waiting, begun):
        response.close()
    assert not has_parser(begun)


def has_parser(response: Response) -> bool:
    """Say whether an answer holds a parser."""
    return any(type(held) is HttpResponseParser for held in gc.get_referents(response))


@pytest.mark.parametrize(
    ("pieces", "body", "ended", "usable"),
    [
        pytest.param([SIZED, b"ok"], b"ok", True, True, id="sized"),
        pytest.param([SIZED + b"ok"], b"ok", True, True, id="in one piece"),
        pytest.param([bytes([byte]) for byte in SIZED + b"ok"], b"ok", True, True, id="byte by byte"),
        pytest.param([SIZED, b"o"], b"o", False, False, id="under way"),
        pytest.param([CHUNKED, b"2\r\nok\r\n0\r\n\r\n"], b"ok", True, True, id="chunked"),
        pytest.param([CHUNKED, b"2\r\nok\r\n"], b"ok", False, False, id="chunked, under way"),
        pytest.param([INTERIM * 2, SIZED, b"ok"], b"ok", True, True, id="after interim ones"),
        pytest.param([b"HTTP/1.1 204 X\r\n\r\n"], b"", True, True, id="no content"),
        pytest.param([FINAL, b"ok"], b"ok", False, False, id="until the end of the connection"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"],
            b"ok",
            True,
            False,
            id="closing",
        ),
        pytest.param([b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], b"ok", True, False, id="HTTP/1.0"),
        pytest.param([SIZED, b"ok", SIZED], b"ok", True, False, id="an answer too many"),
        pytest.param([SIZED + b"ok" + FINAL], b"ok", True, False, id="an answer too many, at once"),
        pytest.param([SIZED + b"ok\r\nnonsense"], b"ok", True, False, id="nonsense behind it"),
        pytest.param([FINAL, b"x" * 51], b"x" * 51, True, False, id="beyond the limit of its body"),
    ],
)
def test_an_answer_is_put_together(pieces: list[bytes], body: bytes, ended: bool, usable: bool) -> None:
    """Whatever the pieces, the body is whole; only a clean end leaves the connection to others."""
    response = hear(*pieces)
    assert response.status_code in (200, 204)
    assert (bytes(response.body), response.ended, response.leaves_connection_usable) == (body, ended, usable)


@pytest.mark.parametrize(
    ("pieces", "status_code"),
    [
        pytest.param([FINAL + b"x" * 80], 200, id="beyond what is parsed at all"),
        pytest.param([FINAL, b"x" * 79, b"x"], 200, id="the same, in pieces"),
        pytest.param([b"HTTP/1.1 200 OK\r\nX: ", b"x" * 79], 0, id="head"),
        pytest.param([INTERIM * 3], 0, id="flood of interim"),
        pytest.param([INTERIM] * 3, 0, id="drip of interim"),
    ],
)
def test_no_more_is_parsed_than_an_answer_may_have(
    monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], status_code: int
) -> None:
    """With 98 bytes and two interim answers allowed, one more ends it; the status is kept if it had come."""
    monkeypatch.setattr("worker.clients.response.MOST_INTERIM", 2)
    response = Response(body_limit=90, most_bytes=98)
    for piece in pieces[:-1]:
        response.hear(piece)
    with pytest.raises(TooMuch):
        response.hear(pieces[-1])
    assert response.status_code == status_code
    assert len(response.body) <= 79


def test_a_head_has_a_limit_of_its_own() -> None:
    """However large a body may be, a head that does not end is cut after 32 KiB."""
    response = Response(body_limit=1 << 30, most_bytes=1 << 30)
    response.hear(b"HTTP/1.1 200 OK\r\nX: ")
    with pytest.raises(TooMuch):
        response.hear(b"x" * HEAD_LIMIT)


@pytest.mark.parametrize(
    "tail",
    [b"2\r\nok\r\n0\r\nX: ", b"2\r\nok\r\n0\r\n" + b"X: y\r\n" * 9 + b"X: ", b"2\r\nok\r\n1;", b"1;"],
    ids=["trailer", "trailers", "chunk extension", "extension of the first chunk"],
)
def test_what_is_no_body_has_that_limit_too(tail: bytes) -> None:
    """The parser puts a trailer together anew with each piece: 32 KiB in which no body comes are too much."""
    response = Response(body_limit=1 << 30, most_bytes=1 << 30)
    response.hear(CHUNKED + tail)
    for _ in range(HEAD_LIMIT // 1024 - 1):
        response.hear(b"x" * 1024)
    with pytest.raises(TooMuch):
        response.hear(b"x" * 1025)
    assert response.status_code == 200


@pytest.mark.parametrize("size", [1, 1024, 1 << 20])
def test_honest_framing_and_trailers_are_no_trouble(size: int) -> None:
    """Chunks of any size may come for as long as the body may, and trailers of 30 KiB behind them."""
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    count = (1 << 20) // size
    said = CHUNKED + chunk * count + b"0\r\n" + b"Checksum: 0123456\r\n" * 1_600 + b"\r\n"
    response = Response(body_limit=1 << 20, most_bytes=1 << 30)
    for begin in range(0, len(said), 5_000):
        response.hear(said[begin : begin + 5_000])
    assert (response.complete, len(response.body)) == (True, size * count)
    assert response.leaves_connection_usable


def test_headers_are_counted() -> None:
    """128 of them are an answer, one more is none, and trailers are not kept."""
    headers = b"X: y\r\n" * 127 + b"Transfer-Encoding: chunked\r\n"
    whole = hear(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n0\r\nX: y\r\n\r\n", most_bytes=2_000)
    assert (whole.complete, len(whole.headers)) == (True, 128)
    with pytest.raises(TooMuch):
        hear(b"HTTP/1.1 200 OK\r\nX: y\r\n" + headers + b"\r\n", most_bytes=2_000)


@pytest.mark.parametrize(
    ("said", "status_code"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", 0),
        (b"HTTP/1.1 two OK\r\n\r\n", 0),
        (b"HTTP/1.1 100 X\r\nContent-Length: 3\r\n\r\nabc", 0),
        (b"HTTP/1.1 099 X\r\n\r\n", 0),
        (b"HTTP/1.1 000 X\r\nContent-Length: 3\r\n\r\nabc", 0),
        (b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", 0),
        (CHUNKED + b"zzz\r\n", 200),
    ],
)
def test_what_is_not_http_is_refused(said: bytes, status_code: int) -> None:
    """A status that came before the nonsense, even in the same packet, is known."""
    response = Response(body_limit=50, most_bytes=98)
    with pytest.raises(NotHttp):
        response.hear(said)
    assert response.status_code == status_code


def test_headers_are_found_in_any_case() -> None:
    """Several of a name are joined, missing ones are None, those of interim answers are forgotten."""
    early = b"HTTP/1.1 103 X\r\nRetry-After: 9\r\n\r\n"
    said = b"HTTP/1.1 429 X\r\nretry-AFTER: 120\r\nVary: a\r\nVary: b\r\n\r\n"
    response = hear(early, said, most_bytes=1_000)
    assert [response.header(name) for name in ("retry-after", "vary", "date")] == ["120", "a, b", None]


@pytest.mark.parametrize(
    ("said", "whole"), [(FINAL, True), (SIZED, False), (CHUNKED, False), (b"HTTP/1.1 200", False)]
)
def test_only_an_answer_without_length_ends_with_its_connection(said: bytes, whole: bool) -> None:
    """Elsewhere the end of the connection is a loss."""
    assert hear(said).ends_with_connection is whole
