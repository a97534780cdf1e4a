"""What every proof needs: a clock that stands until told, and steps that begin at the same moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from sqlalchemy.orm import Session

from tests.factory import NOW
from worker.db.clock import read_now

T = TypeVar("T")

STEPS = 40  # of one history
HISTORIES = 16  # a sixteenth of the profile's examples: one step here is several transactions


@dataclass(slots=True)
class Clock:
    """The database's time, as all of `worker` reads it until the test ends."""

    now: datetime = NOW

    def read(self, session: Session) -> datetime:
        """Return the time; stands in for `read_now`."""
        del session
        return self.now

    def wait(self, passed: timedelta) -> None:
        """Let time pass."""
        self.now += passed


def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put a clock of our own in the place of the database's, in each module that reads it."""
    clock = Clock()
    for name, module in list(sys.modules.items()):
        if name.startswith("worker.") and getattr(module, "read_now", None) is read_now:
            monkeypatch.setattr(module, "read_now", clock.read)
    return clock


def at_once(work: Sequence[Callable[[], T]]) -> list[T]:
    """Run each in a thread of its own, all from the same moment; return what each returned."""
    barrier = threading.Barrier(len(work))

    def begin(one: Callable[[], T]) -> T:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(work)) as pool:
        return [future.result() for future in [pool.submit(begin, one) for one in work]]


def prove(machine: type[RuleBasedStateMachine]) -> None:
    """Run as many histories as the profile allows; one that breaks a promise is shown at its shortest."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=settings().max_examples // HISTORIES,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
        ),
    )
