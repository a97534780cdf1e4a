"""The named steps of a worker, and the trap that ends the process by SIGKILL when one is passed.

The seams are those of the use-cases: what claims, what records, what enqueues. Within them every commit of a
session is seen, so no step depends on what a record writes or in which order.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session

from worker import tasks
from worker.dispatcher import Dispatcher
from worker.poller import Poller


class Step(StrEnum):
    """Where a worker is killed."""

    ENQUEUE_BEFORE_COMMIT = "enqueue, before commit"
    ENQUEUE_BEFORE_ACK = "enqueue, committed, before ack"
    POLL_CLAIMED = "poll, after claim"
    POLL_ANSWERED = "poll, after the gateway's answer"
    POLL_BEFORE_COMMIT = "poll, before commit"
    POLL_AFTER_COMMIT = "poll, after commit"
    DELIVER_CLAIMED = "deliver, after claim"
    DELIVER_MID_POST = "deliver, mid-POST"
    DELIVER_ANSWERED = "deliver, after the receiver's 200"
    DELIVER_BEFORE_COMMIT = "deliver, before commit"
    DELIVER_AFTER_COMMIT = "deliver, after commit"


# The receiver kills at this one: it alone knows that a POST has come and was not answered.
FROM_OUTSIDE = (Step.DELIVER_MID_POST,)


@dataclass(slots=True, kw_only=True)
class Trap:
    """Ends the process when the step that the file `orders` names is passed for the so-and-so-many-th time.

    The file holds the step and the number, a line each; without it nothing happens.
    """

    orders: Path
    passes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def passed(self, step: Step) -> None:
        """Note that a step was passed."""
        try:
            wanted, passes = self.orders.read_text().splitlines()
        except FileNotFoundError:
            return
        if step == wanted:
            with self.lock:
                self.passes += 1
                if self.passes >= int(passes):
                    os.kill(os.getpid(), signal.SIGKILL)

    @staticmethod
    def arm(orders: Path, *, step: Step, passes: int) -> None:
        """Have whoever carries a trap with this file die at the step; a file that is there is complete."""
        new = orders.with_suffix(".new")
        new.write_text(f"{step}\n{passes}")
        new.replace(orders)


class _Doing(threading.local):
    """What this thread is recording, as the steps before and after its commit."""

    commits: tuple[Step, Step] | None = None


_doing = _Doing()


@contextmanager
def _doing_that(before: Step, after: Step) -> Iterator[None]:
    _doing.commits = (before, after)
    try:
        yield
    finally:
        _doing.commits = None


def lay(trap: Trap) -> None:
    """Wrap the seams of this process."""

    def claims(use_case: type[Poller | Dispatcher], step: Step) -> None:
        original = use_case.claim

        @wraps(original)
        def claim(self: Any, *, free: int) -> Any:  # noqa: ANN401 - whatever the use-case claims
            claimed = original(self, free=free)
            if claimed.items:
                trap.passed(step)
            return claimed

        use_case.claim = claim  # type: ignore[method-assign]

    def records(use_case: type[Poller | Dispatcher], answered: Step, before: Step, after: Step) -> None:
        original: Callable[..., Any] = use_case.record

        @wraps(original)
        def record(self: Any, finished: Any) -> Any:  # noqa: ANN401 - whatever the use-case records
            trap.passed(answered)
            with _doing_that(before, after):
                return original(self, finished)

        use_case.record = record  # type: ignore[method-assign]

    claims(Poller, Step.POLL_CLAIMED)
    claims(Dispatcher, Step.DELIVER_CLAIMED)
    records(Poller, Step.POLL_ANSWERED, Step.POLL_BEFORE_COMMIT, Step.POLL_AFTER_COMMIT)
    records(Dispatcher, Step.DELIVER_ANSWERED, Step.DELIVER_BEFORE_COMMIT, Step.DELIVER_AFTER_COMMIT)
    _watch_enqueue()
    _watch_commits(trap)


def _watch_enqueue() -> None:
    original = tasks._enqueue  # noqa: SLF001 - the seam between Celery and the use-case

    @wraps(original)
    def enqueue(*arguments: Any, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - passed on
        with _doing_that(Step.ENQUEUE_BEFORE_COMMIT, Step.ENQUEUE_BEFORE_ACK):
            return original(*arguments, **options)

    tasks._enqueue = enqueue  # noqa: SLF001 - see above


def _watch_commits(trap: Trap) -> None:
    @event.listens_for(Session, "before_commit")
    def before(_session: Session) -> None:
        if _doing.commits is not None:
            trap.passed(_doing.commits[0])

    @event.listens_for(Session, "after_commit")
    def after(_session: Session) -> None:
        if _doing.commits is not None:
            trap.passed(_doing.commits[1])
