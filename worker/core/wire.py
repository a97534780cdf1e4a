"""What gateways send, read item by item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from worker.core.lifecycle import Action, Observation


class Fetch(StrEnum):
    """How a gateway is asked: many ids with one POST, or one GET for each id."""

    BATCH = "batch"
    SINGLE = "single"


class Trouble(StrEnum):
    """Why a reply is no good answer: the gateway's trouble, never the task's."""

    NETWORK = "network"  # DNS, refused, reset, TLS
    TIMEOUT = "timeout"
    UNAUTHORIZED = "unauthorized"  # 401, 403
    NOT_FOUND = "not_found"  # 404 on a batch, 3xx
    RATE_LIMITED = "rate_limited"  # 429
    SERVER_ERROR = "server_error"  # 5xx
    REFUSED = "refused"  # JSON 400, 413, 422
    NOT_JSON = "not_json"  # HTML with 200: wrong base URL?
    ENVELOPE = "envelope"  # JSON, but no success in it
    TOO_LARGE = "too_large"


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    """A good answer: one observation for each id that was asked."""

    observations: Mapping[str, Observation]
    oddities: tuple[str, ...] = ()  # escaped excerpts worth one log line


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """No good answer. `message` is one line, safe to show and log (no secrets, escaped)."""

    trouble: Trouble
    message: str
    retry_after: timedelta | None = None


Reply = Good | Bad


def read_batch(*, status_code: int, content_type: str, retry_after: timedelta | None, body: bytes, asked: Sequence[str]) -> Reply:
    """Read the reply of `POST /suno/fetch` for the ids in `asked`."""
    raise NotImplementedError


def read_single(*, status_code: int, content_type: str, retry_after: timedelta | None, body: bytes, asked: str, action: Action) -> Reply:
    """Read the reply of `GET /suno/fetch/{asked}`."""
    raise NotImplementedError


def normalise_base_url(url: str) -> str:
    """Return `url` without the trailing `/`, `/suno` or `/suno/fetch` that users paste along."""
    raise NotImplementedError
