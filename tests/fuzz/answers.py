"""What must hold for any bytes that a gateway may send, told without the code that reads them.

`check` reads one answer and lets each observation meet a task. The oracle is a second, lenient reader: the
standard library's json, which knows nothing of envelopes, rows and dialects. It finds every object of the
answer that names an id or a status word, and so tells when a conclusion was made up.

Limits: where the standard library cannot read the whole answer, the oracle only looks for the id and a
terminal word in its text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NoReturn

from msgspec.structs import replace

from worker.core.items import WORD_LENGTH
from worker.core.lifecycle import (
    INITIAL,
    PENDING,
    TERMINAL,
    TRANSITIONS,
    Absent,
    Action,
    Known,
    Limits,
    Observation,
    Seen,
    Status,
    Step,
    Times,
    Unreadable,
    advance,
)
from worker.core.webhook import Result, encode_body
from worker.core.wire import ODDITIES_KEPT, Bad, Fetch, Reply, read_any_batch, read_batch, read_single

IDS = (
    "346c5d10-a4a1-4f49-a851-66a7dae6cfaf",  # the ids of tests/samples
    "56ea8da3-8507-4118-9f1e-111111111111",
    "c8e0f2a1-3d45-4b67-9c89-0b1c2d3e4f50",
    "task_Zq3Jp8mYxK2bT7cVn5RwLs9DgHf4AeU1",
    "b7d9e1f0-2c34-4a56-8b78-9a0b1c2d3e4f",
    "0f3c2b1a4d5e46f7a8b9c0d1e2f30415",
    "4711",
    "a/b",
)
STATUS_CODES = (200, 200, 200, 200, 201, 301, 400, 401, 404, 422, 429, 500)
WORDS = {
    Status.SUCCESS: {"SUCCESS", "SUCCEED", "SUCCEEDED", "COMPLETE", "COMPLETED", "DONE"},
    Status.FAILURE: {
        *("FAILURE", "FAILED", "FAIL", "ERROR", "CANCEL", "CANCELED", "CANCELLED", "TIMEOUT", "EXPIRED"),
    },
}
LIMITS = Limits(
    task_deadline=timedelta(days=1), missing_grace=timedelta(minutes=5), stuck_after=timedelta(minutes=10)
)
NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
YOUNG = Known(
    status=INITIAL,
    upstream_status=None,
    progress=0,
    fail_reason="",
    absences=0,
    stuck_since_at=None,
    enqueued_at=NOW - timedelta(seconds=10),
)
ABOUT_TO_BE_LOST = replace(YOUNG, absences=2, enqueued_at=NOW - LIMITS.missing_grace - timedelta(seconds=1))
ABSENT_ONCE = replace(ABOUT_TO_BE_LOST, absences=1)
LONGEST_LINE = 400  # characters of one log line about an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of a gateway and what it was asked."""

    fetch: Fetch
    action: Action
    status_code: int
    asked: tuple[str, ...]
    body: bytes

    @classmethod
    def of_bytes(cls, text: bytes) -> Answer:
        """Return the answer that bytes stand for: two choose the question, the rest is the body."""
        first, second = (*text[:2], 0, 0)[:2]
        fetch = Fetch.SINGLE if first & 1 else Fetch.BATCH
        return cls(
            fetch=fetch,
            action=Action.LYRICS if first & 2 else Action.MUSIC,
            status_code=STATUS_CODES[second % len(STATUS_CODES)],
            asked=IDS if fetch is Fetch.BATCH else (IDS[(first >> 2) % len(IDS)],),
            body=text[2:],
        )

    def read(self) -> Reply:
        """Read it as the gateway client does."""
        if self.fetch is Fetch.BATCH:
            return read_batch(
                status_code=self.status_code,
                content_type="application/json",
                retry_after=None,
                body=self.body,
                asked=self.asked,
            )
        return read_single(
            status_code=self.status_code,
            content_type="application/json",
            retry_after=None,
            body=self.body,
            asked=self.asked[0],
            action=self.action,
        )


def check(answer: Answer) -> Reply:
    """Read `answer` and check all that must hold for it; return what was read."""
    check_both_ways(answer.body)
    reply = answer.read()
    if isinstance(reply, Bad):
        _check_line(reply.message)
        return reply
    if answer.status_code // 100 != 2:
        assert (answer.fetch, answer.status_code) in {(Fetch.SINGLE, 400), (Fetch.SINGLE, 404)}
        assert list(reply.observations.values()) == [Absent()]
    assert set(reply.observations) == set(answer.asked)
    assert len(reply.oddities) <= ODDITIES_KEPT
    for line in reply.oddities:
        _check_line(line)
    oracle = Oracle(answer)
    for task_id, observation in reply.observations.items():
        _check_storable(observation)
        assert not (isinstance(observation, Absent) and oracle.names(task_id)), f"{task_id} is there"
        for status in PENDING:
            for held in (YOUNG, ABSENT_ONCE, ABOUT_TO_BE_LOST):
                known = replace(held, status=status)
                step = advance(known, observation, now=NOW, limits=LIMITS)
                _check_step(step, known=known, observation=observation)
                if isinstance(observation, Seen) and step.known.status in TERMINAL:
                    assert oracle.says(task_id, step.known.status), f"{task_id} was never {step.known.status}"
                    _check_data(step, task_id=task_id, body=answer.body)
    return reply


def check_both_ways(body: bytes) -> Reply:
    """Check that the quick way reads what the thorough one does, where all that is asked is named; return it.

    Where an id is asked that no row names there is one way only.
    """
    asked = [task_id for task_id in IDS if task_id.encode() in body]
    reply = read_batch(status_code=200, content_type="", retry_after=None, body=body, asked=asked)
    assert reply == read_any_batch(status_code=200, content_type="", retry_after=None, body=body, asked=asked)
    return reply


def _check_step(step: Step, *, known: Known, observation: Observation) -> None:
    """A task moves along the table; it ends by a status word, or as lost by an absence too many."""
    after = step.known.status
    assert step.transition == (None if after is known.status else (known.status, after))
    assert after is known.status or after in TRANSITIONS[known.status]
    if after in TERMINAL and not isinstance(observation, Seen):
        assert isinstance(observation, Absent)
        assert known.absences == 2
        assert step.known.fail_reason.startswith("worker: lost: ")
    if not isinstance(observation, Absent):
        assert step.known.absences <= known.absences
    if after not in TERMINAL:
        assert (step.data, step.times) == (None, Times())


def _check_data(step: Step, *, task_id: str, body: bytes) -> None:
    """The result is a piece of the answer, byte for byte, and so is what the receiver gets."""
    data = "null" if step.data is None else step.data
    assert step.data is None or data.encode() in body
    sent = encode_body(
        Result(
            task_id=task_id,
            notify_hook="https://receiver.example/",
            action=Action.MUSIC,
            status=step.known.status,
            fail_reason=step.known.fail_reason,
            times=step.times,
            progress=step.known.progress,
            data=step.data,
        )
    )
    assert sent.endswith(b',"data":' + data.encode() + b"}")
    json.loads(sent, parse_int=str, parse_constant=_refuse)


def _refuse(name: str) -> NoReturn:
    """NaN and Infinity are Python's, not JSON's."""
    raise AssertionError(name)


def _check_storable(observation: Observation) -> None:
    """Both databases take every text, and every number and time is within its bounds."""
    if isinstance(observation, Unreadable):
        _check_line(observation.excerpt)
    if not isinstance(observation, Seen):
        return
    for text in (observation.upstream_status, observation.fail_reason, observation.data or ""):
        text.encode()
        assert "\0" not in text
    assert len(observation.upstream_status) <= WORD_LENGTH
    assert observation.progress is None or 0 <= observation.progress <= 100
    times = observation.times
    for at in (times.submitted_at, times.started_at, times.finished_at):
        assert at is None or (2000 <= at.year < 2100 and at.tzinfo is UTC)


def _check_line(text: str) -> None:
    """One line of a log: printable, not empty, not long."""
    assert text
    assert text.isprintable()
    assert len(text) <= LONGEST_LINE


@dataclass(frozen=True, slots=True)
class Item:
    """What one object of an answer says of a task: its ids, and the end that its status word means."""

    members: Mapping[str, object]

    def ids(self) -> set[str]:
        """Return the id that the object means, if any; beside a task id, `id` is the number of a row."""
        names = [name for name in ("task_id", "taskId") if name in self.members] or ["id"]
        values = (self.members.get(name) for name in names)
        return set([str(value) for value in values if isinstance(value, str | int) and value != ""][:1])

    def is_of(self, task_id: str) -> bool:
        """Whether the object is about this task, or about none in particular."""
        return not {"task_id", "taskId"} & set(self.members) or task_id in self.ids()

    def end(self) -> Status | None:
        """Return what its status word means."""
        return meaning(self.members.get("status"))


class Oracle:
    """The second reader of one answer."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._text = ""
        self._denied = False
        text = answer.body.removeprefix(b"\xef\xbb\xbf").decode(errors="replace")
        try:
            tree: object = json.loads(text, strict=False)
            self._objects: Sequence[Item] | None = list(_objects(tree))
            self._items = list(_items(tree))
            self._denied = isinstance(tree, dict) and str(tree.get("code")).lower() == "task_not_exist"
        except (ValueError, RecursionError):
            self._objects, self._items = None, []
            unescaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found.group(1), 16)), text)
            self._text = unescaped.replace("\\", "")

    def says(self, task_id: str, status: Status) -> bool:
        """Whether some object gives this status to this task (a single answer need not name it)."""
        if self._objects is None:
            words = {*WORDS[status], "_FAILED"} if status is Status.FAILURE else WORDS[status]
            normal = re.sub(r"[-\s]", "_", self._text.upper())
            named = self._answer.fetch is Fetch.SINGLE or task_id in self._text
            return named and any(word in normal for word in words)
        if self._answer.fetch is Fetch.SINGLE:
            return any(status is one.end() and one.is_of(task_id) for one in self._objects)
        return any(status is one.end() and task_id in one.ids() for one in self._objects)

    def names(self, task_id: str) -> bool:
        """Whether an object that is no part of another asked task names this one, in an answer with 2xx.

        Beside the code `task_not_exist` an id is an echo, unless a status word says more of it.
        """
        items = [one for one in self._items if not self._denied or "status" in one.members]
        return self._answer.status_code // 100 == 2 and any(task_id in one.ids() for one in items)


def meaning(word: object) -> Status | None:
    """Return which end a status word means, by the family's table."""
    normal = re.sub(r"[- ]", "_", str(word).strip().upper()) if str(word).isascii() else ""
    if normal.endswith("_FAILED"):
        return Status.FAILURE
    return next((status for status, words in WORDS.items() if normal in words), None)


def _objects(tree: object) -> Iterator[Item]:
    if isinstance(tree, dict):
        yield Item(tree)
    for value in _inside(tree):
        yield from _objects(value)


def _items(tree: object) -> Iterator[Item]:
    """Yield the objects that name an asked id, without those inside of them."""
    if isinstance(tree, dict) and Item(tree).ids() & set(IDS):
        yield Item(tree)
        return
    for value in _inside(tree):
        yield from _items(value)


def _inside(tree: object) -> Sequence[object]:
    match tree:
        case dict():
            return list(tree.values())
        case list():
            return tree
        case _:
            return ()
