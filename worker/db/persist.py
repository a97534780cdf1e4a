"""Record an outcome although the database is away for a moment.

What a gateway or a receiver answered exists only in this process until it is recorded. So a record that fails
is tried again until the claim's lease ends; after that the row is due again anyway, for whoever lives.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

T = TypeVar("T")

DATABASE_TROUBLE = (DBAPIError, PoolTimeoutError)

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0

logger = logging.getLogger(__name__)


def is_passing(error: BaseException) -> bool:
    """Say whether `error` is the database's trouble (away, restarting, overrun, deadlocked) and may pass.

    A value that cannot be stored, a broken constraint or a missing table does not heal by waiting.
    """
    if isinstance(error, OperationalError) and str(error.orig).startswith("no such "):
        return False  # SQLite's word for a missing table or column
    return isinstance(error, OperationalError | InterfaceError | PoolTimeoutError)


def describe(error: BaseException) -> str:
    """Return the first line of a database error, without the statement and its values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long records that belong together go on trying: until `end` (monotonic seconds), or until `stop`.

    A worker that shuts down does not wait for a database that is away: the leases heal what was not recorded.
    """

    end: float
    stop: threading.Event

    @classmethod
    def of(cls, within: timedelta, *, stop: threading.Event) -> Patience:
        """Begin to count now."""
        return cls(end=time.monotonic() + within.total_seconds(), stop=stop)


def persist(work: Callable[[], T], *, patience: Patience, what: str) -> T:
    """Run `work` until it succeeds, pausing 0.2 s doubling to 5 s; raise its error when patience ends."""
    pause = FIRST_PAUSE_S
    while True:
        try:
            return work()
        except DATABASE_TROUBLE as error:
            if not is_passing(error) or time.monotonic() + pause >= patience.end or patience.stop.is_set():
                raise
            logger.warning(
                "the database is away; %s is tried again in %.1f s: %s", what, pause, describe(error)
            )
        patience.stop.wait(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)
