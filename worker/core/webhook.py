"""The message that receivers get, and what their answer means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from worker.core.lifecycle import Action, Status, Times


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


def encode_body(result: Result) -> bytes:
    """Return the JSON body: the family's task object, `data` byte for byte."""
    raise NotImplementedError


def origin_of(url: str) -> str:
    """Return `scheme://host:port` of a checked URL: lower case, IDNA, the port always written."""
    raise NotImplementedError


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
    raise NotImplementedError


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


def judge(
    outcome: PostOutcome,
    *,
    attempt_count: int,
    retry_schedule: tuple[timedelta, ...],
    now: datetime,
    jitter: float,
) -> Verdict:
    """Return what follows from `outcome`; `attempt_count` counts attempts recorded, this one included.

    `jitter` is drawn by the caller from [0, 1).
    """
    raise NotImplementedError
