"""The message that receivers get, and what their answer means.

| answer                                                | meaning   | next                                  |
| ----------------------------------------------------- | --------- | ------------------------------------- |
| 2xx                                                   | delivered | done                                  |
| 410                                                   | gone      | discarded at once                     |
| 408, 425, 429, 5xx, no status line                    | transient | the retry schedule, then discarded    |
| every other status                                    | suspect   | 1 min, 10 min, 1 h, then discarded    |
| forbidden address, bad URL                            | permanent | discarded at once                     |

The count of recorded attempts alone picks the step, so a delivery that had five transient failures and then
meets a 404 is discarded: it has had its time.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never
from urllib.parse import SplitResult, quote

import msgspec

from worker.core.hooks import DEFAULT_PORTS, BadHook, split_hook
from worker.core.hosts import host_of
from worker.core.lifecycle import Action, Status, Times
from worker.core.schedule import SUSPECT_SCHEDULE, parse_retry_after, retry_wait
from worker.core.signature import sign

LONGEST_RETRY_AFTER = timedelta(hours=12)
_NO_ORIGIN = "http://%:80"  # no host can have it, and it echoes nothing of a URL whose parts cannot be told
_LONGEST_HOST = 253  # of a name, and what fits into an index of either database in any case
_DELIVERED = range(200, 300)
_GONE = 410
_TRANSIENT = frozenset({408, 425, 429, *range(500, 600)})
_HEEDS_RETRY_AFTER = frozenset({429, 503})


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A finished Suno task as its receiver is told of it."""

    task_id: str
    notify_hook: str
    action: Action
    status: Status
    fail_reason: str
    times: Times
    progress: int
    data: str | None  # JSON text; None is sent as null


class _Body(msgspec.Struct, frozen=True):
    """The family's task object; the order of the fields is that of their documents."""

    task_id: str
    notify_hook: str
    action: str
    status: str
    fail_reason: str
    submit_time: int
    start_time: int
    finish_time: int
    progress: str
    data: msgspec.Raw


def encode_body(result: Result) -> bytes:
    """Return the JSON body: the family's task object, `data` byte for byte, times in unix seconds or 0."""
    body = _Body(
        task_id=result.task_id,
        notify_hook=result.notify_hook,
        action=result.action,
        status=result.status,
        fail_reason=result.fail_reason,
        submit_time=_unix(result.times.submitted_at),
        start_time=_unix(result.times.started_at),
        finish_time=_unix(result.times.finished_at),
        progress=f"{result.progress}%",
        data=msgspec.Raw(b"null" if result.data is None else result.data.encode()),
    )
    return msgspec.json.encode(body)


def _unix(at: datetime | None) -> int:
    return 0 if at is None else int(at.timestamp())


@functools.lru_cache(maxsize=256)  # most tasks have the same few hooks
def origin_of(url: str) -> str:
    """Return `scheme://host:port` of a checked URL: lower case, IDNA, the port always written."""
    parts = split_hook(url)
    return _origin(parts, host=host_of(parts))


def origin_of_stored(url: str) -> str:
    """Return the origin of a hook that was checked when it came, perhaps by rules that have changed since.

    A host that is none by today's gets an origin that no host can have, percent-encoded, and all URLs that
    are none share one. Their POST will be refused: to write a result never fails for it.
    """
    try:
        parts = split_hook(url)
    except BadHook:
        return _NO_ORIGIN
    try:
        host = host_of(parts)
    except ValueError:
        host = quote(parts.hostname or "", safe="%", errors="replace")
        if len(host) > _LONGEST_HOST:
            host = host[: _LONGEST_HOST - 1] + "%"
    return _origin(parts, host=host)


def _origin(parts: SplitResult, *, host: str) -> str:
    where = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{where}:{parts.port or DEFAULT_PORTS[parts.scheme]}"


def headers(
    *,
    delivery_id: str,
    attempt: int,
    timestamp: int,
    secrets: Sequence[bytes],
    body: bytes,
    version: str,
) -> dict[str, str]:
    """Return the headers of one attempt; without `secrets` no signature among them."""
    unsigned = {
        "content-type": "application/json",
        "user-agent": f"suno-worker/{version}",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-attempt": str(attempt),
    }
    if not secrets:
        return unsigned
    signature = sign(secrets=secrets, message_id=delivery_id, timestamp=timestamp, body=body)
    return {**unsigned, "webhook-signature": signature}


class PostError(StrEnum):
    """Why a POST brought no status line: closed words, kept in the attempt log."""

    DNS = "dns_error"
    REFUSED = "connection_refused"
    RESET = "connection_reset"
    CONNECT_TIMEOUT = "connect_timeout"
    READ_TIMEOUT = "read_timeout"
    DEADLINE = "deadline"
    TLS = "tls_error"
    PROTOCOL = "protocol_error"
    BLOCKED_ADDRESS = "blocked_address"
    INVALID_URL = "invalid_url"
    INTERNAL = "internal_error"


_PERMANENT = frozenset({PostError.BLOCKED_ADDRESS, PostError.INVALID_URL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The receiver's status line came in time."""

    status_code: int
    retry_after: str | None
    excerpt: str  # start of its answer, at most 4 KiB, printable text


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """No status line came. `detail` is safe to show: it names no internal address."""

    error: PostError
    detail: str


PostOutcome = Answered | Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Try again, not before `at`."""

    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Discarded:
    """Given up; `reason` is one line for the operator."""

    reason: str


Verdict = Delivered | Retry | Discarded


def is_delivered(outcome: PostOutcome) -> bool:
    """Say whether the receiver took it: any 2xx."""
    return isinstance(outcome, Answered) and outcome.status_code in _DELIVERED


def is_transient(outcome: PostOutcome) -> bool:
    """Say whether it may heal by itself and gets the full schedule: 408, 425, 429, 5xx, no answer at all."""
    match outcome:
        case Answered(status_code=code):
            return code in _TRANSIENT
        case Failed(error=error):
            return error not in _PERMANENT
        case _:
            assert_never(outcome)


def judge(
    outcome: PostOutcome,
    *,
    attempt_count: int,
    retry_schedule: tuple[timedelta, ...],
    now: datetime,
    jitter: float,
) -> Verdict:
    """Return what follows from `outcome`; `attempt_count` counts attempts recorded, this one included.

    `jitter` is drawn by the caller from [0, 1). Retry-After on 429 and 503 holds the delivery: the later of
    it and the schedule counts, and at most 12 h of it.
    """
    match outcome:
        case Answered(status_code=code) if code in _DELIVERED:
            return Delivered()
        case Answered(status_code=code) if code == _GONE:
            return Discarded(reason="HTTP 410: the receiver wants no more of it")
        case Answered(status_code=code):
            schedule = retry_schedule if code in _TRANSIENT else SUSPECT_SCHEDULE
            what = f"HTTP {code}"
        case Failed(error=error) if error in _PERMANENT:
            return Discarded(reason=f"{outcome.error}: {outcome.detail}")
        case Failed():
            schedule = retry_schedule
            what = f"{outcome.error}: {outcome.detail}"
        case _:
            assert_never(outcome)
    if attempt_count > len(schedule):
        return Discarded(reason=f"given up after {attempt_count} attempts, the last: {what}")
    wait = retry_wait(schedule[attempt_count - 1], jitter=jitter)
    return Retry(at=now + max(wait, _held(outcome, now=now)))


def _held(outcome: PostOutcome, *, now: datetime) -> timedelta:
    """Return how long the receiver asked us to wait, at most 12 h."""
    if not isinstance(outcome, Answered) or outcome.status_code not in _HEEDS_RETRY_AFTER:
        return timedelta(0)
    return min(parse_retry_after(outcome.retry_after, now=now) or timedelta(0), LONGEST_RETRY_AFTER)
