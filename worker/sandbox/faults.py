"""What can go wrong at the sandbox: a fault says whom it strikes, when, and how.

The clock of a fault starts when it is switched on. Its two ways of counting, seconds and requests, may be
combined: `after_requests` and `requests` count only requests that fit while its seconds run.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from worker.sandbox.dialects import Dialect


class FaultKind(StrEnum):
    """What goes wrong."""

    # no answer, or one that is none
    HANG = "hang"  # no answer until the client gives up
    SLOW = "slow"  # the right answer, `seconds` late
    DRIP = "drip"  # the right answer, a byte every `seconds`
    FLOOD = "flood"  # 200 with `mib` MiB of JSON
    DROP = "drop"  # the connection breaks without a status line
    STATUS = "status"  # another status code, with `body` or the family's JSON error
    REDIRECT = "redirect"  # 301 to `location`
    HTML = "html"  # 200 with the page of a single-page application
    EMPTY = "empty"  # 200 with no body
    TRUNCATED = "truncated"  # the first half of the right answer
    ENVELOPE = "envelope"  # 200 with an envelope that says failure
    NULL = "null"  # 200, success, and `data` is null

    # a good answer to a fetch, with odd items
    MISSING = "missing"  # it does not name the tasks
    MALFORMED = "malformed"  # its items for the tasks make no sense
    WORD = "word"  # the tasks' status is `word`
    BACKWARDS = "backwards"  # the tasks stand where they stood at their submit
    STUCK = "stuck"  # IN_PROGRESS, 100 %, with a `fail_reason`
    ENDLESS = "endless"  # the tasks never end: IN_PROGRESS, 99 %

    # a good answer to a batch, with an odd list
    CAP = "cap"  # at most `rows` items, however many were asked
    REORDER = "reorder"  # the items the other way round
    DUPLICATES = "duplicates"  # each item twice, the second time as it was at its submit
    STRANGERS = "strangers"  # an item that nobody asked for comes first


ABOUT_ITEMS = frozenset(
    {
        FaultKind.MISSING,
        FaultKind.MALFORMED,
        FaultKind.WORD,
        FaultKind.BACKWARDS,
        FaultKind.STUCK,
        FaultKind.ENDLESS,
        FaultKind.CAP,
        FaultKind.REORDER,
        FaultKind.DUPLICATES,
        FaultKind.STRANGERS,
    }
)

Seconds = Annotated[float, Meta(ge=0, le=604_800)]
Lasting = Annotated[float, Meta(gt=0, le=604_800)]
Number = Annotated[int, Meta(ge=0, le=1_000_000_000)]
Positive = Annotated[int, Meta(ge=1, le=1_000_000_000)]
HeaderText = Annotated[str, Meta(max_length=2048, pattern=r"^[ -~]*\Z")]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault. Every kind has the keys for whom and when; `fault_keys.KEYS` says which has which others."""

    kind: FaultKind

    # whom
    path: str = ""  # requests whose path contains it
    dialect: Dialect | None = None
    action: Literal["MUSIC", "LYRICS"] | None = None  # as the request says; a single fetch says none
    task_ids: tuple[str, ...] = ()  # requests that name one of them, and of these their items; `*` is a joker

    # when
    after_seconds: Seconds = 0.0
    for_seconds: Lasting | None = None  # None: until it is cleared
    after_requests: Number = 0  # so many are spared first
    requests: Positive | None = None  # so many are struck then; None: all

    # how
    status_code: Annotated[int, Meta(ge=200, le=599)] | None = None
    body: str | None = None
    content_type: Annotated[str, Meta(max_length=100, pattern=r"^[\w.+-]+/[\w.+-]+\Z")] = "application/json"
    retry_after: HeaderText | Number | None = None
    retry_after_date: Number | None = None  # so many seconds from now, sent as a date
    location: HeaderText = "https://frontend.example/"
    seconds: Annotated[float, Meta(ge=0.001, le=86_400)] = 1.0
    mib: Annotated[int, Meta(ge=1, le=4096)] = 40
    rows: Number = 100
    word: str = "DAYDREAMING"
    fail_reason: str = "upstream error"

    def names(self, task_id: str) -> bool:
        """Whether the fault is about this task."""
        return not self.task_ids or any(fnmatchcase(task_id, pattern) for pattern in self.task_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request is about, as far as a fault can tell."""

    path: str
    dialect: Dialect | None = None
    action: str = ""
    task_ids: tuple[str, ...] = ()


def fits(fault: Fault, asked: Asked) -> bool:
    """Whether the fault is meant for such a request; one about items is meant for fetches alone."""
    return (
        fault.path in asked.path
        and fault.dialect in (None, asked.dialect)
        and fault.action in (None, asked.action)
        and (bool(asked.task_ids) or fault.kind not in ABOUT_ITEMS)
        and (not fault.task_ids or any(fault.names(task_id) for task_id in asked.task_ids))
    )
