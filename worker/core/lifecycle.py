"""Every rule about the status of a Suno task, in one place.

A Suno task starts as SUBMITTED and ends as SUCCESS or FAILURE. What the gateway says is an *observation*;
what we conclude from it is a *transition*. `TRANSITIONS` is the whole law: `advance` moves a task only
along it, and `state_diagram` draws it.

| the gateway says              | SUBMITTED becomes | IN_PROGRESS becomes |
| ----------------------------- | ----------------- | ------------------- |
| a word for SUBMITTED          | SUBMITTED         | IN_PROGRESS         |
| a word for IN_PROGRESS        | IN_PROGRESS       | IN_PROGRESS         |
| a word for SUCCESS or FAILURE | that              | that                |
| an unknown word               | SUBMITTED         | IN_PROGRESS         |

States may be skipped; a step back keeps the status, because gateways repeat old words after a restart of
theirs.

We end a task ourselves (FAILURE, `fail_reason` starts with `worker: `) in four cases, tried in this order:

1. lost: absent in `ABSENCES_TO_END` consecutive good answers, and at least `missing_grace` old. The grace
   covers gateways that answer the submit before they store the task.
2. stuck: the gateway says 100 % and gives a fail_reason, yet no terminal word, for `stuck_after`.
3. overdue: a good answer at or after `task_deadline` that is still not terminal.
4. unheard: no readable answer by twice the deadline.

Limits: trouble of the gateway (`Unanswered`) and items that cannot be read (`Unreadable`) change nothing
before case 4. A worker that was switched off for longer than twice the deadline and whose first answer is
trouble ends the task unheard, although the song may exist: the gateways of this family have dropped it by
then.

Nearly every observation repeats what we hold, so that is looked at first and makes nothing new. What is made
for each task at each poll is a `msgspec.Struct`: it is made in a sixth of a dataclass's time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import assert_never

from msgspec import Struct
from msgspec.structs import replace


class Action(StrEnum):
    """What a Suno task makes; the gateways' own two words."""

    MUSIC = "MUSIC"
    LYRICS = "LYRICS"


class Status(StrEnum):
    """Where a Suno task stands. SUCCESS and FAILURE are terminal: never left."""

    SUBMITTED = "SUBMITTED"
    IN_PROGRESS = "IN_PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"


INITIAL = Status.SUBMITTED

TRANSITIONS: Mapping[Status, frozenset[Status]] = MappingProxyType(
    {
        Status.SUBMITTED: frozenset({Status.IN_PROGRESS, Status.SUCCESS, Status.FAILURE}),
        Status.IN_PROGRESS: frozenset({Status.SUCCESS, Status.FAILURE}),
        Status.SUCCESS: frozenset(),
        Status.FAILURE: frozenset(),
    },
)

TERMINAL = frozenset(status for status, targets in TRANSITIONS.items() if not targets)
PENDING = frozenset(Status) - TERMINAL

ABSENCES_TO_END = 3  # also where the count stops, so that a long absence does not write a row at every poll
FULL_PROGRESS = 100
PROGRESS_STEP = 10  # per cent: a finer progress would write a row at every poll


class Times(Struct, frozen=True, kw_only=True, gc=False):
    """The gateway's own times of a task, normalised to aware UTC; None where it gave none."""

    submitted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


NO_TIMES = Times()


class Known(Struct, frozen=True, kw_only=True, gc=False):
    """What we hold of one Suno task: the part of its row that observations may change."""

    status: Status
    upstream_status: str | None
    progress: int  # per cent, 0-100
    fail_reason: str
    absences: int  # consecutive good answers without it, at most ABSENCES_TO_END
    stuck_since_at: datetime | None
    enqueued_at: datetime


class Seen(Struct, frozen=True, kw_only=True, gc=False):
    """The gateway spoke of the task. `status` is None when its word is none of the known ones."""

    status: Status | None
    upstream_status: str  # the gateway's own word, at most 64 characters
    progress: int | None  # per cent, 0-100
    fail_reason: str
    times: Times
    data: str | None  # the gateway's own JSON text of `data`, untouched; read only where `status` is terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A good answer that did not name the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """The answer names the task (or may), but that part of it cannot be understood."""

    excerpt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """No good answer this time: the gateway's trouble, not the task's."""


Observation = Seen | Absent | Unreadable | Unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How long we wait for a word before we end a task ourselves (settings of the same names)."""

    task_deadline: timedelta
    missing_grace: timedelta
    stuck_after: timedelta


class Step(Struct, frozen=True, kw_only=True, gc=False):
    """What one observation makes of a task. `transition` is None when the status stays."""

    known: Known
    transition: tuple[Status, Status] | None
    times: Times  # only with a terminal transition; else empty
    data: str | None  # only with a terminal transition that the gateway's word made


def advance(known: Known, observation: Observation, *, now: datetime, limits: Limits) -> Step:
    """Return what `observation` makes of `known` at `now`; ValueError when `known` is terminal already.

    The caller selects pending Suno tasks only, so a terminal one here is a bug of ours and nothing to handle.
    """
    if known.status in TERMINAL:
        message = f"a Suno task in {known.status} is finished: no observation may change it"
        raise ValueError(message)
    if type(observation) is Seen and _is_repeated(known, observation, now=now, limits=limits):
        return Step(known=known, transition=None, times=NO_TIMES, data=None)
    match observation:
        case Seen(status=Status.SUCCESS | Status.FAILURE as status):
            return _finish(known, observation, status=status)
        case Seen():
            noted = _note(known, observation, now=now)
        case Absent():
            noted = replace(known, absences=min(known.absences + 1, ABSENCES_TO_END))
        case Unreadable():
            noted = replace(known, absences=0)
        case Unanswered():
            noted = known
        case _:
            assert_never(observation)
    reason = _own_reason(noted, observation, now=now, limits=limits)
    if reason is not None:
        return _end(noted, observation, before=known.status, reason=reason)
    transition = None if noted.status is known.status else (known.status, noted.status)
    return Step(known=noted, transition=transition, times=NO_TIMES, data=None)


def _is_repeated(known: Known, seen: Seen, *, now: datetime, limits: Limits) -> bool:
    """Say whether `seen` is what we hold and no time has run out; False where that takes more thought."""
    return (
        seen.status is known.status
        and seen.upstream_status == known.upstream_status
        and seen.fail_reason == known.fail_reason
        and _first(seen.progress, known.progress) // PROGRESS_STEP * PROGRESS_STEP == known.progress
        and not (seen.progress == FULL_PROGRESS and seen.fail_reason)
        and known.absences == 0
        and known.stuck_since_at is None
        and now - known.enqueued_at < limits.task_deadline
    )


def _finish(known: Known, seen: Seen, *, status: Status) -> Step:
    """Take the gateway's terminal word. A finished song is at 100 %, also where no progress is sent."""
    progress = FULL_PROGRESS if status is Status.SUCCESS else _first(seen.progress, known.progress)
    finished = replace(
        known,
        status=status,
        upstream_status=seen.upstream_status,
        progress=progress,
        fail_reason=seen.fail_reason,
        absences=0,
        stuck_since_at=None,
    )
    return Step(known=finished, transition=(known.status, status), times=seen.times, data=seen.data)


def _note(known: Known, seen: Seen, *, now: datetime) -> Known:
    """Take a word that is not terminal: along the table, or, for a step back, the gateway's own word only."""
    stuck = seen.progress == FULL_PROGRESS and seen.fail_reason != ""
    noted = replace(
        known,
        upstream_status=seen.upstream_status,
        absences=0,
        stuck_since_at=(known.stuck_since_at or now) if stuck else None,
    )
    said = seen.status or known.status
    if said is not known.status and said not in TRANSITIONS[known.status]:
        return noted
    progress = _first(seen.progress, known.progress) // PROGRESS_STEP * PROGRESS_STEP
    return replace(noted, status=said, progress=progress, fail_reason=seen.fail_reason)


def _own_reason(noted: Known, observation: Observation, *, now: datetime, limits: Limits) -> str | None:
    """Return why we end the task without a word of the gateway, or None while we wait on."""
    age = now - noted.enqueued_at
    stuck_for = timedelta(0) if noted.stuck_since_at is None else now - noted.stuck_since_at
    match observation:
        case Absent() if noted.absences >= ABSENCES_TO_END and age >= limits.missing_grace:
            return f"lost: absent in {ABSENCES_TO_END} consecutive answers of the gateway"
        case Seen() if noted.stuck_since_at is not None and stuck_for >= limits.stuck_after:
            said = f"{observation.upstream_status} at 100 %, with the reason: {observation.fail_reason}"
            return f"stuck: for {limits.stuck_after.total_seconds():g} s {said}"
        case Seen() | Absent() if age >= limits.task_deadline:
            return f"overdue: not finished within {limits.task_deadline.total_seconds():g} s"
        case _ if age >= 2 * limits.task_deadline:
            return f"unheard: no readable answer within {2 * limits.task_deadline.total_seconds():g} s"
        case _:
            return None


def _end(noted: Known, observation: Observation, *, before: Status, reason: str) -> Step:
    """End the task ourselves; the gateway's times are kept where it gave some, its `data` never."""
    ended = replace(noted, status=Status.FAILURE, fail_reason=f"worker: {reason}", stuck_since_at=None)
    times = observation.times if isinstance(observation, Seen) else NO_TIMES
    return Step(known=ended, transition=(before, Status.FAILURE), times=times, data=None)


def _first(said: int | None, held: int) -> int:
    """Return what was said, or what we hold when nothing was; 0 is something."""
    return held if said is None else said


def state_diagram() -> str:
    """Return `TRANSITIONS` as the text of a Mermaid state diagram, without a final newline."""
    moves = [
        f"    {before} --> {after}" for before in Status for after in Status if after in TRANSITIONS[before]
    ]
    ends = [f"    {status} --> [*]" for status in Status if status in TERMINAL]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {INITIAL}", *moves, *ends])
