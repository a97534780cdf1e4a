"""Record an outcome although the database is away for a moment.

What a gateway or a receiver answered exists only in this process until it is recorded. So a record that fails
is tried again until the claim's lease ends; after that the row is due again anyway, for whoever lives.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

T = TypeVar("T")

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0

logger = logging.getLogger(__name__)


def is_passing(error: BaseException) -> bool:
    """Say whether `error` is the database's trouble (away, restarting, overrun, deadlocked) and may pass."""
    if isinstance(error, IntegrityError | ProgrammingError):
        return False
    if isinstance(error, DBAPIError) and str(error.orig).startswith("no such "):
        return False  # SQLite's word for a missing table or column, which no waiting heals
    return isinstance(error, DBAPIError | PoolTimeoutError)


def describe(error: BaseException) -> str:
    """Return the first line of a database error, without the statement and its values."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__


def persist(work: Callable[[], T], *, within: timedelta, what: str) -> T:
    """Run `work` until it succeeds, pausing 0.2 s doubling to 5 s; raise its error after `within`."""
    end = time.monotonic() + within.total_seconds()
    pause = FIRST_PAUSE_S
    while True:
        try:
            return work()
        except (DBAPIError, PoolTimeoutError) as error:
            if not is_passing(error) or time.monotonic() + pause >= end:
                raise
            logger.warning(
                "the database is away; %s is tried again in %.1f s: %s", what, pause, describe(error)
            )
        threading.Event().wait(pause)
        pause = min(pause * 2, LONGEST_PAUSE_S)
