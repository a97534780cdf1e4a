"""The JSON that each kind of gateway answers with, in the shapes of the three documents we start from.

* **New-API** (OpenAI-Hub, RixAPI/NewAPI): `code` is "success", a batch is a list of task objects, an
  unknown id is simply not in it, and `data` is null instead of an empty list.
* **GoAmz** (nengyongai): `code` is 200, no batch, lower-case words, clips as a map; no progress.
  No document shows its lyrics; the sandbox puts `title` and `text` beside empty `clips`.
* **Suno-API**, the origin: a batch without progress and `notify_hook`; a single fetch answers with the
  bare clips or lyrics, without id and status.

The exact `data` text of a task is spliced in with `msgspec.Raw`, so it leaves here byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import assert_never

import msgspec

from worker.sandbox.appearances import Appearance
from worker.sandbox.dialects import Dialect
from worker.sandbox.songs import Stage, clips, lyrics

_GOAMZ_WORDS: Mapping[Stage, str] = {
    Stage.SUBMITTED: "pending",
    Stage.IN_PROGRESS: "processing",
    Stage.SUCCESS: "completed",
    Stage.FAILURE: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A JSON answer and the status line that it travels with."""

    content: bytes
    status_code: int = 200


def submitted(task_id: str, *, dialect: Dialect) -> Body:
    """Answer a submit: New-API's `data` is the id itself, GoAmz wraps it."""
    if dialect is Dialect.GOAMZ:
        return _body({"code": 200, "data": {"task_id": task_id}, "message": "success"})
    return _body({"code": "success", "message": "", "data": task_id})


def batch(items: Sequence[Appearance], *, dialect: Dialect) -> Body:
    """Answer a batch fetch with the tasks that were found."""
    if dialect is Dialect.GOAMZ:
        return _refusal("no batch endpoint here", dialect=dialect, status_code=404)
    shown = [_nonsense(item) if item.nonsense else _task_object(item, dialect=dialect) for item in items]
    nothing: list[object] | None = [] if dialect is Dialect.SUNO_API else None
    return _body({"code": "success", "message": "", "data": shown or nothing})


def single(item: Appearance, *, dialect: Dialect) -> Body:
    """Answer a single fetch of a task that is there."""
    match dialect:
        case Dialect.GOAMZ:
            data = _nonsense(item) if item.nonsense else _goamz_object(item)
            return _body({"code": 200, "data": data, "message": "success"})
        case Dialect.SUNO_API:
            data = _nonsense(item) if item.nonsense else _data(item)
            return _body({"code": "success", "message": "", "data": data})
        case Dialect.NEW_API:
            data = _nonsense(item) if item.nonsense else _task_object(item, dialect=dialect)
            return _body({"code": "success", "message": "", "data": data})
        case _:
            assert_never(dialect)


def unknown_task(*, dialect: Dialect) -> Body:
    """Answer a single fetch of an id that nobody submitted."""
    if dialect is Dialect.NEW_API:
        return _body({"code": "task_not_exist", "message": "task_not_exist", "data": None}, status_code=400)
    return _refusal("task not exist", dialect=dialect, status_code=400)


def bad_request(message: str, *, dialect: Dialect) -> Body:
    """Refuse a request that cannot be understood."""
    return _refusal(message, dialect=dialect, status_code=400)


def unauthorized(*, dialect: Dialect) -> Body:
    """Refuse a missing or wrong API key."""
    if dialect is Dialect.NEW_API:
        error = {"message": "Invalid token (request id: sandbox)", "type": "new_api_error", "code": ""}
        return _body({"error": error}, status_code=401)
    return _refusal("unauthorized secret token", dialect=dialect, status_code=401)


def _refusal(message: str, *, dialect: Dialect, status_code: int) -> Body:
    code: object = status_code if dialect is Dialect.GOAMZ else "invalid_request"
    return _body({"code": code, "message": message, "data": None}, status_code=status_code)


def _body(content: object, *, status_code: int = 200) -> Body:
    return Body(content=msgspec.json.encode(content), status_code=status_code)


def _seconds(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp())


def _data(item: Appearance) -> object:
    task, standing = item.task, item.standing
    if task.data is not None and standing.ended and item.word is None:
        return msgspec.Raw(task.data)
    if standing.stage is Stage.SUBMITTED and item.word is None:
        return None
    if task.action == "LYRICS":
        words = lyrics(task, stage=standing.stage)
        return words if item.word is None else words | {"status": item.word}
    made = clips(task, stage=standing.stage)
    return made if item.word is None else [clip | {"status": item.word} for clip in made]


def _task_object(item: Appearance, *, dialect: Dialect) -> Mapping[str, object]:
    task, standing = item.task, item.standing
    fields: dict[str, object] = {
        "task_id": task.task_id,
        "notify_hook": "",
        "action": task.action,
        "status": standing.stage if item.word is None else item.word,
        "fail_reason": item.fail_reason,
        "submit_time": _seconds(task.submitted_at),
        "start_time": _seconds(standing.started_at),
        "finish_time": _seconds(standing.finished_at),
        "progress": f"{standing.progress}%",
        "data": _data(item),
    }
    if dialect is Dialect.SUNO_API:
        del fields["notify_hook"], fields["progress"]
    return fields


def _goamz_object(item: Appearance) -> object:
    task, standing = item.task, item.standing
    if task.data is not None and standing.ended and item.word is None:
        return msgspec.Raw(task.data)
    fields: dict[str, object] = {
        "task_id": task.task_id,
        "status": _GOAMZ_WORDS[standing.stage] if item.word is None else item.word,
        "input": json.dumps(
            {"custom_mode": False, "gpt_description_prompt": task.prompt, "mv": "chirp-v3-0"}
        ),
        "clips": {},
    }
    if task.action == "LYRICS":
        words = lyrics(task, stage=standing.stage)
        fields |= {"title": words["title"], "text": words["text"]}
    elif standing.stage is not Stage.SUBMITTED:
        fields["clips"] = {str(clip["id"]): clip for clip in clips(task, stage=standing.stage)}
    if item.fail_reason or standing.stage is Stage.FAILURE:
        fields["error"] = item.fail_reason
    return fields


def _nonsense(item: Appearance) -> Mapping[str, object]:
    return {"task_id": item.task.task_id, "status": [42], "progress": [], "fail_reason": {"?": None}}
