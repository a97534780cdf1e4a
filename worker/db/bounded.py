"""Reads that may not take long: a look at a figure must never become a load of its own."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from sqlite3 import Connection as SQLiteConnection
from typing import cast

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session

from worker.db.session import Sessions, reading

INSTRUCTIONS = 10_000  # of SQLite's machine between two looks at the clock: a fraction of a millisecond


@contextmanager
def reading_within(sessions: Sessions, *, limit: timedelta) -> Iterator[Session]:
    """Give a session that only reads and ends with OperationalError when it takes longer than `limit`.

    The limit is that of the whole block. On PostgreSQL each statement is given what the others left of it,
    for one more round trip each; the server watches it, so one that has gone silent is up to TCP.
    """
    with reading(sessions) as session:
        connection = session.connection()
        end = time.monotonic() + limit.total_seconds()
        if connection.dialect.name != "sqlite":
            event.listen(connection, "before_execute", functools.partial(_give_what_is_left, end=end))
            yield session
            return
        raw = cast("SQLiteConnection", connection.connection.driver_connection)
        raw.set_progress_handler(lambda: time.monotonic() > end, INSTRUCTIONS)
        try:
            yield session
        finally:
            raw.set_progress_handler(None, 0)


def _give_what_is_left(connection: Connection, *_: object, end: float) -> None:
    left_ms = int((end - time.monotonic()) * 1000)
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, left_ms)}")  # 0 would be no limit
