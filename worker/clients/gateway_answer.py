"""A gateway's whole answer, made fit for reading: no redirect, unpacked, bounded, our key not quoted."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

from worker.clients.response import Response
from worker.core.schedule import parse_retry_after
from worker.core.wire import Bad, Good, Reply, Trouble

MASK: Final = b"***"
SHORTEST_KEY: Final = 4  # characters; masking a shorter one would blot out ordinary words
BODY_LIMIT: Final = 32 * 1024 * 1024  # bytes, packed and unpacked; 100 finished tasks take 0.3 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of any status but a redirect."""

    status_code: int
    content_type: str
    retry_after: timedelta | None
    body: bytes


def read_answer(response: Response) -> Answer | Bad:
    """Return what `response` and its raw body say, or Bad if no gateway could have meant it so."""
    if 300 <= response.status_code <= 399:  # noqa: PLR2004  # HTTP's redirects
        message = f"answered {response.status_code}, a redirect, which is not followed: wrong base URL?"
        return Bad(trouble=Trouble.NOT_FOUND, message=message)
    received = bytes(response.body)
    encoding = (response.header("content-encoding") or "identity").strip().lower()
    body = received if encoding == "identity" else _decompress(received)
    if body is None:
        return Bad(
            trouble=Trouble.NOT_JSON, message="the answer is compressed in a way that was not asked for"
        )
    if len(body) > BODY_LIMIT:
        return Bad(trouble=Trouble.TOO_LARGE, message=f"the answer is larger than {BODY_LIMIT >> 20} MiB")
    return Answer(
        status_code=response.status_code,
        content_type=response.header("content-type") or "",
        retry_after=_retry_after(response),
        body=body,
    )


def without_key(read: Callable[..., Reply], *, body: bytes, key: str) -> Reply:
    """Return what `body` says; a complaint is quoted without the key, which some gateways say back."""
    reply = read(body=body)
    if isinstance(reply, Good) or len(key) < SHORTEST_KEY:
        return reply
    masked = read(body=body.replace(key.encode(), MASK))
    return replace(reply, message=masked.message) if isinstance(masked, Bad) else reply


def _decompress(received: bytes) -> bytes | None:
    """Return gzip or zlib data unpacked, at most one byte over the limit; None if it is neither.

    We ask for `identity`. Some proxies compress all the same.
    """
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 32).decompress(received, BODY_LIMIT + 1)
    except zlib.error:
        return None


def _retry_after(response: Response) -> timedelta | None:
    """Read Retry-After; a date in it is held against the gateway's own clock, which `Date` tells."""
    try:
        now = parsedate_to_datetime(response.header("date") or "")
    except (ValueError, OverflowError):
        now = datetime.max.replace(tzinfo=UTC)  # no clock: any date is past, seconds still count
    now = now if now.tzinfo else now.replace(tzinfo=UTC)  # "-0000" is how some write UTC
    return parse_retry_after(response.header("retry-after"), now=now)
