"""The message that receivers get: body, headers, and the origin that it goes to."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import SplitResult, quote

import msgspec

from worker.core.hooks import DEFAULT_PORTS, BadHook, split_hook
from worker.core.hosts import host_of
from worker.core.lifecycle import Action, Status, Times
from worker.core.signature import sign

_NO_ORIGIN = "http://%:80"  # no host can have it, and it echoes nothing of a URL whose parts cannot be told
_LONGEST_HOST = 253  # of a name, and what fits into an index of either database in any case


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
