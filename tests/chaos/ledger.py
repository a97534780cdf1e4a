"""What was promised and what came, written by any thread while a run goes on; `account` says what follows.

A task is *expected* before its enqueue is sent and *promised* once that was acknowledged.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tests.chaos.account import Account, judge
from tests.chaos.entries import Arrival, Expected, Recorded, Strike


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
            strangers = {arrival.task_id for arrival in self.arrivals} - self.expected.keys()
            judged = strangers | (self.expected.keys() if of is None else set(of))
            arrivals: dict[str, list[Arrival]] = {}
            for arrival in self.arrivals:
                if arrival.task_id in judged:
                    arrivals.setdefault(arrival.task_id, []).append(arrival)
            return judge(
                arrivals,
                promised=self.promised & judged,
                expected=self.expected,
                strikes=self.strikes,
                recorded=recorded,
            )
