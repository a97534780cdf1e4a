"""The life of a worker process: what it checks at its start, shares while it runs, and closes at its end."""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable

from celery.exceptions import SecurityWarning
from celery.signals import (
    celeryd_after_setup,
    celeryd_init,
    worker_init,
    worker_shutdown,
    worker_shutting_down,
)
from sqlalchemy.exc import SQLAlchemyError

from worker.celery import settings
from worker.db.persist import describe
from worker.db.revisions import pending
from worker.db.session import make_engine
from worker.open_files import NEEDED, TOO_FEW, raise_own_limit
from worker.runtime import Runtime

# What is on its way is thousands of objects and no garbage. With its default of 700 new objects (2,000 from
# Python 3.13) Python would look for some at every claim, for 2 % of what a process delivers.
NEW_OBJECTS = 5_000  # until Python looks for garbage

logger = logging.getLogger(__name__)

# Set when the worker is told to stop: nothing new is claimed, nobody goes on waiting.
stopping = threading.Event()

_lock = threading.Lock()
_runtime: Runtime | None = None


def runtime(*, ring_deliver: Callable[[], None]) -> Runtime:
    """Return the process's runtime, opened now if there is none."""
    global _runtime  # noqa: PLW0603  # one per process is what this is for
    with _lock:
        if _runtime is None:
            _runtime = Runtime.open(settings(), ring_deliver=ring_deliver)
        return _runtime


@celeryd_init.connect
def _silence_celery_about_root(**_: object) -> None:
    """Celery's own words come before the log is set up, so in no format and in eight lines."""
    warnings.filterwarnings("ignore", category=SecurityWarning)


@celeryd_after_setup.connect
def _warn_root(**_: object) -> None:
    """Say in one line what Celery would have said."""
    if os.geteuid() == 0:
        logger.warning("this worker runs as root; any other user can do the same and less harm")


@celeryd_after_setup.connect
def _allow_open_files(**_: object) -> None:
    """Make room for the connections of all slots; processes that a pool forks later inherit it."""
    limit = raise_own_limit()
    if limit is not None:
        logger.warning(TOO_FEW, limit, NEEDED)


@celeryd_after_setup.connect
def _seek_garbage_seldom(**_: object) -> None:
    """Have Python look for garbage less often; what no cycle holds is freed at once all the same.

    Whoever embeds the worker and has it look even less often, or never (0), keeps that.
    """
    young, *rest = gc.get_threshold()
    if 0 < young < NEW_OBJECTS:
        gc.set_threshold(NEW_OBJECTS, *rest)


@worker_init.connect
def _end_without_tables(**_: object) -> None:
    """End the worker with one line when the database lacks tables; one that is away is waited for instead."""
    engine = make_engine(settings().database_url)
    try:
        missing = pending(engine)
    except SQLAlchemyError as error:
        logger.warning("the database is away: %s", describe(error))
    else:
        if missing:
            sys.exit("the database lacks tables of this version; run `suno-worker migrate`")
    finally:
        engine.dispose()


@worker_shutting_down.connect
def _stop(**_: object) -> None:
    stopping.set()
    if _runtime is not None:
        _runtime.poller.wake()
        _runtime.dispatcher.wake()


@worker_shutdown.connect
def _close(**_: object) -> None:
    if _runtime is not None:
        _runtime.close()
