"""Reads that may not take long: a look at a figure must never become a load of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from sqlite3 import Connection as SQLiteConnection
from typing import cast

from sqlalchemy import text
from sqlalchemy.orm import Session

from worker.db.session import Sessions, reading
from worker.db.statements import run

INSTRUCTIONS = 10_000  # of SQLite's machine between two looks at the clock: a fraction of a millisecond


@contextmanager
def reading_within(sessions: Sessions, *, limit: timedelta) -> Iterator[Session]:
    """Give a session that only reads and ends with OperationalError when it takes longer than `limit`.

    On PostgreSQL the limit is that of each statement, on SQLite that of the whole block.
    """
    with reading(sessions) as session:
        connection = session.connection()
        if connection.dialect.name != "sqlite":
            run(session, text(f"SET LOCAL statement_timeout = {int(limit.total_seconds() * 1000)}"))
            yield session
            return
        raw = cast("SQLiteConnection", connection.connection.driver_connection)
        end = time.monotonic() + limit.total_seconds()
        raw.set_progress_handler(lambda: time.monotonic() > end, INSTRUCTIONS)
        try:
            yield session
        finally:
            raw.set_progress_handler(None, 0)
