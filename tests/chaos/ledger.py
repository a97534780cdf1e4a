"""What was promised, what came, and what follows: lost, doubled, wrong. Knows no database and no HTTP.

A task is *expected* before its enqueue is sent and *promised* once that was acknowledged. A promised task is
lost unless its result came, whole, verified and taken, and its delivery stands as DELIVERED; where the
receiver refuses for good, it is lost unless its delivery stands as was expected.

A result that comes again after one that was taken, or that was cut off while it was being answered, is a
*duplicate*. One is excused only by a strike (a kill, an outage) that the earlier one was in flight at, only
while that earlier one was not recorded (or its lease was over), and only under the same `webhook-id`, with
the same body and a new attempt number. Everything else is *wrong*, and as bad as a loss.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

# A result that came this long before a kill may still have waited to be recorded: the machine is busy.
IN_FLIGHT_S = 5.0
# The least that a lease outlives its POST: one that comes again so late was due, whatever its record says.
LEASE_S = 45.0
DELIVERED = frozenset({"DELIVERED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must become of a task: the data that the gateway shows, the status, how its delivery may stand."""

    data: str
    status: str = "SUCCESS"
    states: frozenset[str] = DELIVERED


@dataclass(slots=True, kw_only=True)
class Arrival:
    """One POST that came whole. `answer` is None when the sender was gone before it was given."""

    at: float  # monotonic seconds
    task_id: str
    webhook_id: str
    attempt: int
    status: str
    data: str  # the exact text
    body_sha256: str
    problem: str | None  # of the signature
    answer: int | None = None

    @property
    def taken(self) -> bool:
        """Whether the receiver has it and said so."""
        return self.answer is not None and 200 <= self.answer < 300 and self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A kill, or the time in which something was broken: monotonic seconds."""

    start: float
    end: float

    def covers(self, arrival: Arrival) -> bool:
        """Whether the arrival may have been on its way to its record when this began, or while it lasted."""
        return self.start - IN_FLIGHT_S <= arrival.at <= self.end


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the database says of a task in the end. `taken`: the numbers of its attempts that got a 2xx."""

    status: str
    webhook_id: str | None
    state: str | None
    taken: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The sum. `lost` and `wrong` hold a line for each, and both have to be empty."""

    tasks: int
    duplicates: int
    lost: tuple[str, ...]
    wrong: tuple[str, ...]


@dataclass(slots=True)
class Ledger:
    """The books of one installation. Any thread may write."""

    expected: dict[str, Expected] = field(default_factory=dict)  # by task id
    promised: set[str] = field(default_factory=set)
    arrivals: list[Arrival] = field(default_factory=list)
    strikes: list[Strike] = field(default_factory=list)
    came: dict[str, float] = field(default_factory=dict)  # when each task's result was first taken
    changed: threading.Condition = field(default_factory=threading.Condition)

    def expect(self, task_id: str, expected: Expected) -> None:
        """Note what is about to be enqueued."""
        with self.changed:
            self.expected[task_id] = expected

    def promise(self, *task_ids: str) -> None:
        """Note that the enqueue was acknowledged: from here on the result must come."""
        with self.changed:
            self.promised.update(task_ids)

    def arrive(self, arrival: Arrival) -> None:
        """Note a POST; its `answer` may be given later by `answered`."""
        with self.changed:
            self.arrivals.append(arrival)

    def answered(self, arrival: Arrival, *, answer: int) -> None:
        """Note that the answer was written."""
        with self.changed:
            arrival.answer = answer
            if arrival.taken:
                self.came.setdefault(arrival.task_id, arrival.at)
            self.changed.notify_all()

    def strike(self, *, since: float | None = None) -> Strike:
        """Note a kill that has just been, or something that was broken `since` then until now."""
        now = time.monotonic()
        strike = Strike(start=now if since is None else since, end=now)
        with self.changed:
            self.strikes.append(strike)
        return strike

    def wait_for(self, task_ids: Iterable[str], *, seconds: float) -> bool:
        """Wait until the result of each was taken; False when that is not so within `seconds`."""
        wanted = set(task_ids)
        with self.changed:
            return self.changed.wait_for(lambda: wanted <= self.came.keys(), timeout=seconds)

    def account(self, recorded: Mapping[str, Recorded], *, of: Iterable[str] | None = None) -> Account:
        """Compare it all. `recorded`: what the database holds, by task id; `of`: of these tasks alone."""
        with self.changed:
            promised = self.promised if of is None else self.promised.intersection(of)
            strangers = {arrival.task_id for arrival in self.arrivals} - self.expected.keys()
            judged = strangers | (self.expected.keys() if of is None else set(of))
            by_task: dict[str, list[Arrival]] = {}
            for arrival in self.arrivals:
                if arrival.task_id in judged:
                    by_task.setdefault(arrival.task_id, []).append(arrival)
            repeats = [pair for came in by_task.values() for pair in pairwise(came) if _is_repeat(pair[0])]
            wrong = [
                f"{task_id}: {fault}"
                for task_id, came in by_task.items()
                for fault in _faults(
                    came, expected=self.expected.get(task_id), recorded=recorded.get(task_id)
                )
            ]
            wrong += [
                f"{later.task_id}: attempt {later.attempt} came {later.at - earlier.at:.1f} s after attempt "
                f"{earlier.attempt}, which was not in flight at any strike or was recorded"
                for earlier, later in repeats
                if not _is_excused(earlier, later, strikes=self.strikes, recorded=recorded.get(later.task_id))
            ]
            return Account(
                tasks=len(promised),
                duplicates=len(repeats),
                lost=tuple(self._lost(promised, recorded)),
                wrong=tuple(wrong),
            )

    def _lost(self, promised: Iterable[str], recorded: Mapping[str, Recorded]) -> Iterable[str]:
        for task_id in sorted(promised):
            row = recorded.get(task_id)
            if row is None:
                yield f"{task_id}: not in the database"
            elif row.state not in self.expected[task_id].states:
                yield f"{task_id}: {row.status}, its delivery is {row.state or 'missing'}"
            elif row.state in DELIVERED and task_id not in self.came:
                yield f"{task_id}: DELIVERED, and never came"


def _is_repeat(earlier: Arrival) -> bool:
    """Whether what follows this is a duplicate: it was taken, or cut off before anyone could know."""
    return earlier.taken or earlier.answer is None


def _faults(
    came: Sequence[Arrival], *, expected: Expected | None, recorded: Recorded | None
) -> Iterable[str]:
    """Tell what no strike excuses."""
    if expected is None:
        yield "came, and nobody enqueued it"
    for arrival in came:
        if arrival.problem is not None:
            yield f"attempt {arrival.attempt} was not verified: {arrival.problem}"
        if expected is not None and arrival.data != expected.data:
            yield f"attempt {arrival.attempt} carried other data than the gateway's"
        if expected is not None and arrival.status != expected.status:
            yield f"attempt {arrival.attempt} told {arrival.status}, which is not {expected.status}"
    ids = {arrival.webhook_id for arrival in came}
    if recorded is not None and recorded.webhook_id is not None:
        ids.add(recorded.webhook_id)
    if len(ids) > 1:
        yield f"has {len(ids)} webhook-ids: {', '.join(sorted(ids))}"
    if len({arrival.body_sha256 for arrival in came}) > 1:
        yield "came with different bodies"
    numbers = [arrival.attempt for arrival in came]
    if len(set(numbers)) < len(numbers):
        yield f"came with an attempt number twice: {numbers}"


def _is_excused(
    earlier: Arrival, later: Arrival, *, strikes: Sequence[Strike], recorded: Recorded | None
) -> bool:
    was_recorded = recorded is not None and earlier.attempt in recorded.taken
    return any(strike.covers(earlier) for strike in strikes) and (
        not was_recorded or later.at - earlier.at >= LEASE_S
    )
