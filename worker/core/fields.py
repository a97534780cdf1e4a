"""The fields of one item, under all the names and in all the types that the gateways use for them.

Nothing here raises: a field of the wrong type counts as missing. Both spellings are read, `submit_time` and
`submitTime`, and times in seconds and in milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime

from worker.core.lifecycle import FULL_PROGRESS, Status, Times
from worker.core.raw_json import members, scalar

REASON_LENGTH = 4096
NULL = b"null"
EMPTY_MESSAGES = frozenset({"", "success", "succeed", "ok"})  # what stands where nothing went wrong
_MILLISECONDS_FROM = 1e11  # as seconds the year 5138, as milliseconds March 1973
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(2100, 1, 1, tzinfo=UTC).timestamp()

Fields = Mapping[str, bytes]
Scalar = str | int | float | None


def task_id_of(fields: Fields) -> str | None:
    """Return the id that an item names; numbers count as text. `id` counts only where no field says task id.

    new-api sends the number of its database row as `id` beside `task_id`.
    """
    spelled = [fields[name] for name in ("task_id", "taskId") if name in fields] or [fields.get("id", NULL)]
    for text in spelled:
        value = scalar(text)
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return None


def word_of(fields: Fields) -> str | None:
    """Return the gateway's status word, "" for null, None where there is none."""
    text = fields.get("status")
    if text is None:
        return None
    value = "" if text == NULL else scalar(text)
    return None if value is None or isinstance(value, bool) else str(value)


def reason_of(fields: Fields, *, status: Status | None) -> str:
    """Return why it failed. Only a failure is also searched for the names that other dialects use."""
    names: tuple[str, ...] = ("fail_reason", "failReason")
    if status is Status.FAILURE:
        names += ("error", "error_message", "errorMessage", "message")
    reasons = (text_of(fields.get(name, NULL)) for name in names)
    return next((reason for reason in reasons if reason.lower() not in EMPTY_MESSAGES), "")


def times_of(fields: Fields) -> Times:
    """Return the gateway's own times; None for each that is 0, missing or absurd."""
    return Times(
        submitted_at=_time(fields, "submit_time", "submitTime"),
        started_at=_time(fields, "start_time", "startTime"),
        finished_at=_time(fields, "finish_time", "finishTime"),
    )


def progress_of(fields: Fields) -> int | None:
    """Read `"46%"`, `"46"`, `46` or `46.7` as 46; None for what is no number from 0 to 100."""
    return percent(_value(fields.get("progress", NULL)))


def percent(value: Scalar | bytes) -> int | None:
    """Return the whole per cent that a value means; None for what is no number from 0 to 100."""
    number = _number(value)
    return int(number) if number is not None and 0 <= number <= FULL_PROGRESS else None


def text_of(text: bytes) -> str:
    """Return a string's text, or that of an object's `message`; "" for anything else and for blanks."""
    value = scalar(text)
    if value is None and text[:1] == b"{":
        value = scalar((members(text) or {}).get("message", NULL))
    return shown(value)


def shown(value: Scalar) -> str:
    """Return a string, cut where it is too long to keep; "" for anything else and for blanks."""
    return value[:REASON_LENGTH] if isinstance(value, str) and value.strip() else ""


def moment(value: Scalar | bytes) -> datetime | None:
    """Read unix seconds or milliseconds, told apart by size; None for 0 and outside of 2000-2099."""
    number = _number(value)
    if number is None:
        return None
    seconds = number / 1000 if number >= _MILLISECONDS_FROM else number
    return datetime.fromtimestamp(seconds, tz=UTC) if _EARLIEST <= seconds < _LATEST else None


def _time(fields: Fields, *names: str) -> datetime | None:
    return next((time for name in names if (time := moment(_value(fields.get(name, NULL))))), None)


def _value(text: bytes) -> Scalar | bytes:
    return text if text.isdigit() else scalar(text)  # nearly all are plain digits: half the cost of an item


def _number(value: Scalar | bytes) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value.strip().removesuffix("%") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
