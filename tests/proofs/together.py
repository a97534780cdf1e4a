"""What every proof needs: a clean start, a clock that stands until told, steps that begin at the same moment.

A step of a history is several transactions, so a history costs 0.3 s on SQLite, up to 0.65 s on PostgreSQL,
and there are fewer than a property has examples: 25 in a run of the tests, 500 with HYPOTHESIS_PROFILE=long.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from sqlalchemy import delete
from sqlalchemy.orm import Session

from tests.factory import NOW, add_gateway
from worker.clients.portal import Portal
from worker.db.clock import read_now
from worker.db.models import Attempt, Delivery, Gateway, Origin, PollBatch, SunoTask, Transition
from worker.db.session import Sessions

T = TypeVar("T")

STEPS = 40  # of one history
EXAMPLES = 4  # of the profile, for one history
LONGEST_S = 1_800  # all histories of the long profile, and 5 minutes to make one that fails short


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


class Histories(RuleBasedStateMachine):
    """Steps of chance on one database, each history from an empty one with a gateway.

    No rule may depend on what an earlier one brought about, so that a history can be played again although
    threads have raced in it.
    """

    def __init__(self, *, sessions: Sessions, clock: Clock, portal: Portal) -> None:
        """Begin with nothing."""
        super().__init__()
        self.sessions = sessions
        self.clock = clock
        self.portal = portal
        clock.now = NOW
        with sessions.begin() as session:
            for table in (Attempt, Delivery, Origin, Transition, SunoTask, PollBatch, Gateway):
                session.execute(delete(table))
            add_gateway(session)


def prove(
    histories: type[Histories], *, sessions: Sessions, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run as many as the profile allows; one that breaks a promise is shown at its shortest."""
    run_state_machine_as_test(
        # Whatever makes one will do, and not only a class.
        partial(histories, sessions=sessions, clock=stopped_clock(monkeypatch), portal=portal),  # type: ignore[arg-type]
        settings=settings(
            max_examples=settings().max_examples // EXAMPLES,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
        ),
    )
