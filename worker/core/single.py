"""The answer to `GET /suno/fetch/{id}`, in the shapes that the family has for it.

| `data` of the answer                         | sent by                 | read as                          |
| -------------------------------------------- | ----------------------- | -------------------------------- |
| object with `task_id`                        | new-api, one-hub        | one row, its `data` passed on    |
| the same, without `data`                     | GoAmz, nengyongai       | one row, all of it passed on     |
| list of clips                                | Suno-API                | clips; the status is theirs      |
| object without `task_id`                     | Suno-API, for LYRICS    | lyrics; the status is theirs     |
| list of rows with `task_id`                  | a batch answer          | as in a batch                    |
| null, `[]`                                   | new-api, nothing found  | nothing: the id is absent        |
"""

from __future__ import annotations

from worker.core.envelope import Envelope, open_envelope
from worker.core.excerpts import excerpt
from worker.core.fields import NULL, task_id_of
from worker.core.items import Rows, observe, observe_clips, read_rows
from worker.core.lifecycle import Action, Seen, Unreadable
from worker.core.oddities import odd
from worker.core.raw_json import elements, members

_URL_WORDS = ("url", "route", "endpoint", '"path"', "cannot get")


def read_one(opened: Envelope, *, asked: str, action: Action) -> Rows | None:
    """Return what the answer says of `asked`: nothing where it is silent; None where it is no answer."""
    data = opened.data
    if data == NULL:
        return Rows(observations={}, oddities=())
    rows = elements(data)
    if rows is not None:
        return _read_list(rows, opened=opened, asked=asked)
    fields = members(data)
    if fields is None:
        return None
    named = "task_id" in fields or "taskId" in fields
    if named and task_id_of(fields) != asked:
        return _one(Unreadable(excerpt=f"not {excerpt(asked)} but {excerpt(data)}"), asked=asked)
    if not named and not opened.success:
        return None
    if named or action is Action.LYRICS or "clips" in fields or "data" in fields:
        return _one(observe(fields, text=data, whole=True, message=opened.message), asked=asked)
    return _one(Unreadable(excerpt=excerpt(data)), asked=asked)


def _read_list(rows: list[bytes], *, opened: Envelope, asked: str) -> Rows | None:
    fields = [members(row) or {} for row in rows]
    if not rows or any("task_id" in one or "taskId" in one for one in fields):
        return read_rows(rows, asked=[asked])
    return _one(observe_clips(rows, text=opened.data), asked=asked) if opened.success else None


def _one(observation: Seen | Unreadable, *, asked: str) -> Rows:
    return Rows(observations={asked: observation}, oddities=odd(observation))


def says_unknown(*, status_code: int, body: bytes) -> bool:
    """Return whether a refusal says that the id is not known: a JSON object with HTTP 400 or 404.

    One that speaks of the URL, or wraps an `error` object that does not speak of a task, comes from a wrong
    base URL or a gateway without `/suno`. Taking it for absence would fail every task of a mistyped
    setting.
    """
    opened = open_envelope(body)
    if status_code not in (400, 404) or opened is None or not opened.fields:
        return False
    said = f"{opened.code} {opened.message}".lower()
    if "task" in said:
        return True
    wrapped = opened.fields.get("error", NULL).startswith(b"{") or opened.message.lower() == "not found"
    text = body.decode(errors="replace").lower()
    return not wrapped and not any(word in text for word in _URL_WORDS)
