"""Every rule about the status of a Suno task, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


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


TERMINAL = frozenset({Status.SUCCESS, Status.FAILURE})
PENDING = frozenset(Status) - TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The gateway's own times of a task, normalised to aware UTC; None where it gave none."""

    submitted_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What we hold of one Suno task: the part of its row that observations may change."""

    status: Status
    upstream_status: str | None
    progress: int  # per cent, 0-100
    fail_reason: str
    absences: int  # consecutive good answers without it
    stuck_since_at: datetime | None
    enqueued_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The gateway spoke of the task. `status` is None when its word is none of the known ones."""

    status: Status | None
    upstream_status: str  # the gateway's own word, at most 64 characters
    progress: int | None  # per cent, 0-100
    fail_reason: str
    times: Times
    data: str | None  # the gateway's own JSON text of `data`, untouched


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one observation makes of a task. `transition` is None when the status stays."""

    known: Known
    transition: tuple[Status, Status] | None
    times: Times  # only with a terminal transition; else empty
    data: str | None  # only with a terminal transition


def advance(known: Known, observation: Observation, *, now: datetime, limits: Limits) -> Step:
    """Return what `observation` makes of `known` at `now`."""
    raise NotImplementedError
