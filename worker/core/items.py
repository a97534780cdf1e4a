"""One item of an answer becomes one observation.

Nothing in an item raises: what has no status word, or a result that is no JSON, is `Unreadable`. The item's
own status word decides alone; clips inside may keep a stale "streaming", a failed task may hold one good
clip, and a fail_reason does not make a failure.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from worker.core.excerpts import excerpt
from worker.core.fields import NULL, Fields, progress_of, reason_of, task_id_of, text_of, times_of, word_of
from worker.core.lifecycle import TERMINAL, Observation, Seen, Status, Times, Unreadable
from worker.core.mentions import mentions
from worker.core.oddities import odd, stranger
from worker.core.raw_json import document, members
from worker.core.words import status_of

WORD_LENGTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the rows of one answer say: observations of ids that were asked, and what is worth a log line."""

    observations: dict[str, Observation]
    oddities: tuple[str, ...]


def read_rows(rows: Sequence[bytes], *, asked: Collection[str]) -> Rows:
    """Read each row by itself and match it by its id, never by its position; strangers are left out.

    An id without a row that stands inside of one nobody asked for is `Unreadable`: it may be the gateway's
    other name for the same task, and is no absence. Of several rows with one id a success counts first, then
    a failure, then the last that can be read: no index of the gateways makes the id unique, and no order is
    promised.
    """
    observations: dict[str, Observation] = {}
    oddities: list[str] = []
    unmatched: list[bytes] = []
    for row in rows:
        fields = members(row) or {}
        task_id = task_id_of(fields)
        if task_id is not None and task_id in asked:
            seen = observe(fields, text=row)
            oddities += odd(seen)
            if _weight(seen) >= _weight(observations.get(task_id)):
                observations[task_id] = seen
        else:
            unmatched.append(row)
            oddities += odd(Unreadable(excerpt=excerpt(row))) if task_id is None else [stranger(row)]
    left = [one for one in asked if one not in observations]
    for one, row in mentions(unmatched, asked=left).items():
        observations[one] = Unreadable(excerpt=excerpt(row))
    return Rows(observations=observations, oddities=tuple(oddities))


def _weight(observation: Observation | None) -> int:
    match observation:
        case Seen(status=Status.SUCCESS):
            return 4
        case Seen(status=Status.FAILURE):
            return 3
        case Seen():
            return 2
        case Unreadable():
            return 1
        case _:
            return 0


def observe(fields: Fields, *, text: bytes, whole: bool = False, message: str = "") -> Seen | Unreadable:
    """Return what one item says. `text` is its own text, `message` the envelope's, for failures without one.

    `data` is the member of that name. GoAmz has none (it has `clips` and `input`): its whole item is the
    data, as is any item without one when `whole`.
    """
    word = word_of(fields)
    if word is None:
        return Unreadable(excerpt=excerpt(text))
    status = status_of(word)
    data: str | None = None
    if status in TERMINAL:
        own = text if whole or "clips" in fields or "input" in fields else NULL
        data = document(fields.get("data", own))
        if data is None:
            return Unreadable(excerpt=excerpt(text))
    return Seen(
        status=status,
        upstream_status=word[:WORD_LENGTH],
        progress=progress_of(fields),
        fail_reason=reason_of(fields, status=status) or (message if status is Status.FAILURE else ""),
        times=times_of(fields),
        data=None if data == "null" else data,
    )


def observe_clips(clips: Sequence[bytes], *, text: bytes) -> Seen | Unreadable:
    """Return what a bare list of clips says: Suno-API answers a single fetch with nothing but `data`.

    The least advanced clip decides while one goes on. When all have ended one good clip makes a success, as
    GoAmz counts it (Suno-API's own status would be FAILURE, with a song inside).
    """
    seen = [observe(members(clip) or {}, text=clip, whole=True) for clip in clips]
    readable = [one for one in seen if isinstance(one, Seen)]
    data = document(text)
    if not readable or len(readable) < len(seen) or data is None:
        return Unreadable(excerpt=excerpt(text))
    order = (None, Status.SUBMITTED, Status.IN_PROGRESS, Status.SUCCESS, Status.FAILURE)
    decisive = min(readable, key=lambda one: order.index(one.status))
    return Seen(
        status=decisive.status,
        upstream_status=decisive.upstream_status,
        progress=None,
        fail_reason=_clip_reason(clips) if decisive.status is Status.FAILURE else "",
        times=Times(),
        data=data if decisive.status in TERMINAL else None,
    )


def _clip_reason(clips: Sequence[bytes]) -> str:
    """Return the first error message in the clips' metadata, where Suno writes it."""
    metadata = [members((members(clip) or {}).get("metadata", NULL)) or {} for clip in clips]
    reasons = (text_of(one.get("error_message", NULL)) for one in metadata)
    return next((reason for reason in reasons if reason), "")
