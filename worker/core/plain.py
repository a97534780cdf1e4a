"""The family's plain answer to a batch, read in one pass: an envelope of success and a row for each asked id.

Nearly every answer is that. msgspec checks the form while it decodes, so reading a row costs a tenth of what
`items` takes to look at each of its fields as text. Whatever is not plain in one single row (an id that is
missing, twice or not asked, a field of another type, another spelling that says something) leaves the whole
answer to `wire`, which knows every shape; what is read here is what would be read there.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from worker.core.envelope import means_success
from worker.core.fields import EMPTY_MESSAGES, NULL, moment, percent, shown
from worker.core.items import WORD_LENGTH, Rows
from worker.core.lifecycle import TERMINAL, Observation, Seen, Status, Times
from worker.core.oddities import odd
from worker.core.raw_json import document, storable
from worker.core.words import status_of

PLAIN_LIMIT = 8 * 1024 * 1024  # bytes: every row is made before one is looked at


class _Row(Struct, gc=False):
    """One row. The other spellings may be there where they say nothing."""

    task_id: str
    status: str
    fail_reason: str | None = None
    progress: str | int | float | None = None
    submit_time: int | None = None
    start_time: int | None = None
    finish_time: int | None = None
    data: Raw | UnsetType = UNSET
    failReason: Literal[""] | None = None  # noqa: N815 - the wire's name
    submitTime: Literal[0] | None = None  # noqa: N815
    startTime: Literal[0] | None = None  # noqa: N815
    finishTime: Literal[0] | None = None  # noqa: N815


class _Answer(Struct):
    """The envelope. One that names a task may be an item itself."""

    code: str | int
    data: list[_Row]
    task_id: Raw | UnsetType = UNSET
    taskId: Raw | UnsetType = UNSET  # noqa: N815


_read = msgspec.json.Decoder(_Answer).decode


def read_plain(body: bytes, *, asked: Collection[str]) -> Rows | None:
    """Return what a plain answer says of every asked id; None for any other answer."""
    try:
        answer = _read(body)
    except (ValueError, RecursionError):
        return None
    if not means_success(answer.code) or answer.task_id is not UNSET or answer.taskId is not UNSET:
        return None
    left = set(asked)
    observations: dict[str, Observation] = {}
    oddities: list[str] = []
    for row in answer.data:
        seen = _observe(row) if row.task_id in left else None
        if seen is None:
            return None
        left.remove(row.task_id)
        observations[row.task_id] = seen
        if seen.status is None:
            oddities += odd(seen)
    return None if left else Rows(observations=observations, oddities=tuple(oddities))


def _observe(row: _Row) -> Seen | None:
    """Return what a row says, or None where another field than these might have a say in it."""
    status, word = _word(row.status) if len(row.status) <= WORD_LENGTH else _read_word(row.status)
    reason = _reason(row.fail_reason) if row.fail_reason else ""
    data: str | None = None
    if status in TERMINAL:
        data = None if row.data is UNSET else document(bytes(row.data))
        if data is None or (status is Status.FAILURE and not reason):
            return None
    said = row.progress
    return Seen(
        status=status,
        upstream_status=word,
        progress=percent(said) if isinstance(said, str) and len(said) > WORD_LENGTH else _percent(said),
        fail_reason=reason,
        times=Times(
            submitted_at=_moment(row.submit_time) if row.submit_time else None,
            started_at=_moment(row.start_time) if row.start_time else None,
            finished_at=_moment(row.finish_time) if row.finish_time else None,
        ),
        data=None if data == NULL.decode() else data,
    )


def _read_word(said: str) -> tuple[Status | None, str]:
    word = storable(said)
    return status_of(word), word[:WORD_LENGTH]


def _reason(said: str) -> str:
    reason = shown(storable(said))
    return reason if reason.lower() not in EMPTY_MESSAGES else ""


# The same few words and percentages, and for tasks of one age the same seconds, come over and over again.
_word = functools.lru_cache(maxsize=256)(_read_word)
_percent = functools.lru_cache(maxsize=256)(percent)
_moment: functools._lru_cache_wrapper[datetime | None] = functools.lru_cache(maxsize=4096)(moment)
