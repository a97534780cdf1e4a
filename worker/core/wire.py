"""What gateways send, read item by item.

An answer is judged in this order: HTTP status, first byte (the content type is often wrong: gin answers
JSON as text/plain), JSON, envelope, items. Only a good answer says anything about a task. Any bytes may
come in; nothing here raises.

At HTTP 200 an item that names an asked id and a terminal word counts whatever the envelope's code says. The
other asked ids of such an answer stay `Unanswered`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from http import HTTPStatus
from types import MappingProxyType

from worker.core.envelope import (
    MOST_PARTS,
    MOST_ROWS,
    Envelope,
    complaint,
    is_beyond_measure,
    open_envelope,
)
from worker.core.excerpts import excerpt
from worker.core.fields import NULL
from worker.core.items import Rows, read_rows
from worker.core.lifecycle import (
    TERMINAL,
    Absent,
    Action,
    Observation,
    Seen,
    Status,
    Unanswered,
    Unreadable,
)
from worker.core.mentions import mentions
from worker.core.oddities import odd
from worker.core.plain import PLAIN_LIMIT, read_plain
from worker.core.raw_json import elements, members, trimmed
from worker.core.single import read_one, says_unknown


class Fetch(StrEnum):
    """How a gateway is asked: many ids with one POST, or one GET for each id."""

    BATCH = "batch"
    SINGLE = "single"


class Trouble(StrEnum):
    """Why a reply is no good answer: the gateway's trouble, never the task's."""

    NETWORK = "network"  # DNS, refused, reset, TLS
    TIMEOUT = "timeout"
    UNAUTHORIZED = "unauthorized"  # 401, 402, 403: the key, its quota or its rights
    NOT_FOUND = "not_found"  # 404 on a batch, 405, 410, 3xx: wrong base URL?
    RATE_LIMITED = "rate_limited"  # 429
    SERVER_ERROR = "server_error"  # 5xx
    REFUSED = "refused"  # JSON 400, 413, 422
    NOT_JSON = "not_json"  # HTML with 200: wrong base URL?
    ENVELOPE = "envelope"  # JSON, but no success in it; a 4xx without a name above
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


BATCH_CAP = 100  # rows that one-hub sends at most, however many were asked
ODDITIES_KEPT = 10

_BY_STATUS: Mapping[int, Trouble] = MappingProxyType(
    {
        400: Trouble.REFUSED,
        401: Trouble.UNAUTHORIZED,
        402: Trouble.UNAUTHORIZED,
        403: Trouble.UNAUTHORIZED,
        404: Trouble.NOT_FOUND,
        405: Trouble.NOT_FOUND,
        408: Trouble.TIMEOUT,
        410: Trouble.NOT_FOUND,
        413: Trouble.REFUSED,
        422: Trouble.REFUSED,
        429: Trouble.RATE_LIMITED,
    },
)
_PASTED = re.compile(r"(?<=[^:/])(?:/+suno(?:/+fetch)?)?/*$")
_JSON_ONLY = frozenset({400, 413, 422})  # a proxy's own page says nothing of the ids, so bisecting is no use


def read_batch(
    *, status_code: int, content_type: str, retry_after: timedelta | None, body: bytes, asked: Sequence[str]
) -> Reply:
    """Read the reply of `POST /suno/fetch` for the ids in `asked`.

    An id without a row is `Absent`; with exactly 100 rows it is `Unanswered`, for it may be behind
    one-hub's cap.
    """
    may_be_plain = status_code == HTTPStatus.OK and len(body) <= PLAIN_LIMIT
    plain = read_plain(body, asked=asked) if may_be_plain else None
    if plain is not None:
        return Good(observations=plain.observations, oddities=plain.oddities[:ODDITIES_KEPT])
    return read_any_batch(
        status_code=status_code, content_type=content_type, retry_after=retry_after, body=body, asked=asked
    )


def read_any_batch(
    *, status_code: int, content_type: str, retry_after: timedelta | None, body: bytes, asked: Sequence[str]
) -> Reply:
    """Read it as `read_batch` does, but field by field, whatever its shape: at ten times the cost."""
    opened = _open(status_code=status_code, content_type=content_type, retry_after=retry_after, body=body)
    if isinstance(opened, Bad):
        return opened
    rows = _rows(opened.data)
    if rows is None:
        return _bad(Trouble.ENVELOPE, status_code=status_code, retry_after=retry_after, body=body)
    missing = Unanswered() if len(rows) == BATCH_CAP else Absent()
    read = read_rows(rows, asked=frozenset(asked))
    reply = _weigh(read, opened=opened, asked=asked, missing=missing)
    return reply or _bad(Trouble.ENVELOPE, status_code=status_code, retry_after=retry_after, body=body)


def read_single(
    *,
    status_code: int,
    content_type: str,
    retry_after: timedelta | None,
    body: bytes,
    asked: str,
    action: Action,
) -> Reply:
    """Read the reply of `GET /suno/fetch/{asked}`, in any of the shapes that `single` knows.

    A JSON 400 or 404 says that the gateway does not know the task, unless it speaks of the URL.
    """
    opened = _open(status_code=status_code, content_type=content_type, retry_after=retry_after, body=body)
    if isinstance(opened, Bad):
        return (
            Good(observations={asked: Absent()})
            if says_unknown(status_code=status_code, body=body)
            else opened
        )
    read = read_one(opened, asked=asked, action=action)
    reply = None if read is None else _weigh(read, opened=opened, asked=[asked], missing=Absent())
    shown = read is not None and read.observations
    if reply is None and not shown and opened.code.lower() == "task_not_exist":
        return Good(observations={asked: Absent()})
    return reply or _bad(Trouble.ENVELOPE, status_code=status_code, retry_after=retry_after, body=body)


def normalise_base_url(url: str) -> str:
    """Return `url` without the trailing `/`, `/suno` or `/suno/fetch` that users paste along."""
    return _PASTED.sub("", url.strip(), count=1)


def _open(
    *, status_code: int, content_type: str, retry_after: timedelta | None, body: bytes
) -> Envelope | Bad:
    """Return the opened answer, or the trouble that its status or its form shows."""
    opened = open_envelope(body)
    trouble = _trouble(status_code, is_json=opened is not None)
    if trouble is None and is_beyond_measure(body, opened=opened):
        message = f"HTTP {status_code}: the answer has more than {MOST_ROWS:,} rows or {MOST_PARTS:,} parts"
        return Bad(trouble=Trouble.TOO_LARGE, message=message, retry_after=retry_after)
    if opened is not None and trouble is None:
        return opened
    kind = "" if opened else _kind(content_type, is_page=trouble is None and trimmed(body)[:1] == b"<")
    return _bad(
        trouble or Trouble.NOT_JSON, status_code=status_code, retry_after=retry_after, body=body, kind=kind
    )


def _kind(content_type: str, *, is_page: bool) -> str:
    """Say what came instead of JSON; a page with 2xx is what a gateway shows for every path it lacks."""
    said = excerpt(content_type, length=40) or "no content type"
    return f" ({said}, not JSON{': wrong base URL?' if is_page else ''})"


def _trouble(status_code: int, *, is_json: bool) -> Trouble | None:
    """Return what a status means: `_BY_STATUS`, else what its hundred means; None for 2xx."""
    if not is_json and status_code in _JSON_ONLY:
        return Trouble.NOT_JSON
    by_hundred = {2: None, 3: Trouble.NOT_FOUND, 4: Trouble.ENVELOPE if is_json else Trouble.NOT_JSON}
    return _BY_STATUS.get(status_code, by_hundred.get(status_code // 100, Trouble.SERVER_ERROR))


def _bad(
    trouble: Trouble, *, status_code: int, retry_after: timedelta | None, body: bytes, kind: str = ""
) -> Bad:
    return Bad(
        trouble=trouble, message=f"HTTP {status_code}{kind}: {complaint(body)}", retry_after=retry_after
    )


def _rows(data: bytes) -> list[bytes] | None:
    """Return the rows of a batch: none for null, one for a single task object; None for anything else."""
    if data == NULL:
        return []
    fields = members(data)
    if fields is not None:
        return [data] if "task_id" in fields or "taskId" in fields else None
    return elements(data)


def _weigh(read: Rows, *, opened: Envelope, asked: Sequence[str], missing: Observation) -> Good | None:
    """Return what the envelope lets the rows count for, or None when nothing is left: no good answer."""
    seen, oddities = read.observations, read.oddities
    if opened.success and missing == Absent():
        beside = b" ".join(text for name, text in opened.fields.items() if name != "data")
        unread = Unreadable(excerpt=excerpt(beside))
        named = mentions([beside], asked=[one for one in asked if one not in seen])
        seen = {**dict.fromkeys(named, unread), **seen}
        oddities += odd(unread) if named else ()
    if not opened.success:
        missing = Unanswered()
        counts = TERMINAL if opened.success is False else {*Status, None}
        seen = {one: said for one, said in seen.items() if isinstance(said, Seen) and said.status in counts}
        if not seen:
            return None
    return Good(
        observations={one: seen.get(one, missing) for one in asked}, oddities=oddities[:ODDITIES_KEPT]
    )
