"""The envelope around a gateway's answer: `{"code": …, "message": …, "data": …}`, or none at all.

The code that means success differs by gateway: "success" (the family), 200 (GoAmz), 1 and 0. An answer
without any code says neither: what it shows of a task counts, what it does not show proves nothing. Nor does
an answer without `data` say that nothing was found; only null and `[]` do.

Limits: an answer of more than 300,000 parts is not opened, and one of more than 1,000 rows is no answer; a
hundred finished tasks have a tenth of that. To look at each part of 32 MiB takes minutes and gigabytes, on
the loop that all gateways and receivers share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from worker.core.excerpts import excerpt
from worker.core.fields import EMPTY_MESSAGES, NULL, text_of
from worker.core.raw_json import elements, members, scalar, trimmed

MOST_PARTS = 300_000  # told by the commas, also those in texts
MOST_ROWS = 1_000

_SUCCESS_CODES = frozenset({"success", "succeed", "ok", "200", "1", "0", "true"})


def means_success(code: str | float) -> bool:
    """Return whether an envelope's code is one of those that gateways send with a good answer."""
    return str(code).strip().lower() in _SUCCESS_CODES


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One answer, opened."""

    success: bool | None  # None when it carries no code
    data: bytes  # the text of `data`, b"" without one; of the whole answer where there is no envelope
    fields: Mapping[str, bytes]

    @property
    def message(self) -> str:
        """What the envelope says went wrong; "" when it says nothing."""
        names = ("error", "error_message", "message", "description", "detail")
        texts = (text_of(self.fields.get(name, NULL)) for name in names)
        return next((text for text in texts if text.lower() not in EMPTY_MESSAGES), "")

    @property
    def code(self) -> str:
        """The code as text, "" for none."""
        value = scalar(self.fields.get("code", NULL))
        return "" if value is None else str(value).strip()


def is_beyond_measure(body: bytes, *, opened: Envelope | None) -> bool:
    """Return whether `body`, `opened` as far as it can be, has more parts or rows than are looked at."""
    if opened is None:
        return body.count(b",") > MOST_PARTS
    return opened.data.count(b",") >= MOST_ROWS and len(elements(opened.data) or ()) > MOST_ROWS


def open_envelope(body: bytes) -> Envelope | None:
    """Return what `body` holds, or None when it is no JSON object or array, or too many parts."""
    if body.count(b",") > MOST_PARTS:
        return None
    text = trimmed(body)
    if text[:1] == b"[":
        return None if elements(text) is None else Envelope(success=None, data=text, fields={})
    fields = members(text)
    if fields is None:
        return None
    opened = Envelope(success=None, data=text if _is_item(fields) else fields.get("data", b""), fields=fields)
    if opened.code == "":
        return opened
    return Envelope(success=means_success(opened.code), data=opened.data, fields=fields)


def _is_item(fields: Mapping[str, bytes]) -> bool:
    """Return whether the answer is the item itself: it names a task, and holds no items that do.

    A code stands in an item only beside a status word.
    """
    if "task_id" not in fields and "taskId" not in fields:
        return False
    data = fields.get("data", NULL)
    return "code" not in fields or (
        "status" in fields and b'"task_id"' not in data and b'"taskId"' not in data
    )


def complaint(body: bytes) -> str:
    """Return, on one line that is safe to log, what a bad answer says."""
    opened = open_envelope(body)
    if opened is not None and (opened.message or opened.code):
        return excerpt(": ".join(part for part in (opened.code, opened.message) if part))
    return excerpt(body) or "an empty answer"
