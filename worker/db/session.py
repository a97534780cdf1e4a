"""Engines and sessions, with the few options that decide whether an outage is survived.

`with sessions.begin() as session:` is a writing transaction, `with reading(sessions) as session:` a reading
one. On SQLite a writing transaction begins with `BEGIN IMMEDIATE`: it takes the one write lock at its start,
where waiting is safe, and never fails half-way because another writer came first. Writers of one process come
to that lock in the order in which they asked for it (`writers`).
"""

from __future__ import annotations

import functools
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from worker.db.wall_clock import WallClock
from worker.db.writers import Writer, line_of

# Threads of one worker process (16), the command line, and room for a record that waits for a claim.
POOL_SIZE = 20

SQLITE_BUSY_TIMEOUT_S = 10

# The first in line asks for SQLite's write lock by itself: the busy handler would soon look 10 times a second
# only, and between two looks another process writes twenty times.
WRITE_LOCK_WITHIN_S = 20.0
LOOKS_MS = 10  # the busy handler looks after 1, 3 and 8 ms, and at the end

# Left alone, Python keeps the last 128 statements of a connection prepared, at 9 KB each. Lists of ids make
# ever new ones, so a worker grew for half an hour and more, towards 22 MB. With 64 it grows for minutes, by
# half of that; two statements in a thousand more are prepared anew, in 14 µs.
STATEMENTS_KEPT = 64

CLOCK = "clock"  # key of a SQLite file's clock in the `info` of each connection to it

# A PostgreSQL that went away without a word is noticed after so long, not after the kernel's two hours.
GONE_AFTER = timedelta(seconds=20)
POSTGRESQL_OPTIONS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "application_name": "suno-worker",
    # Nobody waits without end: not for a row that a stranger's open transaction holds (its `worker.enqueue`
    # of the same id), not for a statement gone astray, not behind a worker that stopped in mid-transaction.
    # In UTC, times come as they are kept; each of another zone would have to be converted.
    "options": "-c lock_timeout=10s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
    " -c timezone=UTC",
}

# A plan that was made when a table had forty rows reads all of it, and stays until the table is analyzed:
# each claim in a first burst of 20,000 results took 50 ms, for a minute.
BY_INDEX = " -c enable_seqscan=off"

Sessions = sessionmaker[Session]


def make_engine(url: str | URL, *, gone_after: timedelta = GONE_AFTER, by_index: bool = False) -> Engine:
    """Return an engine for `url` (`sqlite:///…` or `postgresql+psycopg://…`); connects to nothing yet.

    A PostgreSQL of which nothing is heard for `gone_after` is gone. With `by_index` it reads no table whole
    where an index leads to the rows, whatever it believes of the table's size: for a worker, whose statements
    all have theirs. Errors show statements without their values: a hook may carry a token.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite_engine(parsed)
    wanted = {**POSTGRESQL_OPTIONS, "tcp_user_timeout": round(gone_after.total_seconds() * 1000)}
    if by_index:
        wanted["options"] = f"{wanted['options']}{BY_INDEX}"
    options = {name: value for name, value in wanted.items() if name not in parsed.query}
    # No ping before use: it would add round trips to each transaction. A connection that died with its server
    # fails once and empties the pool; whoever has something to record tries again (`persist`).
    return create_engine(
        parsed, pool_size=POOL_SIZE, max_overflow=0, hide_parameters=True, connect_args=options
    )


def make_sessions(engine: Engine) -> Sessions:
    """Return the factory of sessions; rows stay readable after their transaction."""
    return sessionmaker(engine, expire_on_commit=False)


@contextmanager
def reading(sessions: Sessions) -> Iterator[Session]:
    """Give a session that only reads: on SQLite it waits for no writer."""
    with sessions() as session:
        session.connection(execution_options={"sqlite_begin": "DEFERRED"})
        yield session


def _sqlite_engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        hide_parameters=True,
        connect_args={
            "timeout": SQLITE_BUSY_TIMEOUT_S,
            "cached_statements": STATEMENTS_KEPT,
            "factory": functools.partial(Writer, line=line_of(url.database or "")),
        },
    )
    clock = WallClock()
    event.listen(engine, "connect", functools.partial(_prepare_sqlite, clock=clock))
    event.listen(engine, "begin", functools.partial(_begin_sqlite, clock=clock))
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, record: Any, *, clock: WallClock) -> None:  # noqa: ANN401 - SQLAlchemy's own type
    """Set what SQLite keeps per connection, and where `read_now` finds the file's clock."""
    record.info[CLOCK] = clock
    connection.isolation_level = None  # the driver would begin transactions itself, and too late
    connection.execute("PRAGMA foreign_keys = ON")
    _use_wal(connection)
    # FULL: a commit that was acknowledged survives a power cut, as on PostgreSQL.
    connection.execute("PRAGMA synchronous = FULL")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log; SQLite does not wait by itself for another that does the same."""
    end = time.monotonic() + SQLITE_BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            threading.Event().wait(0.02)
        else:
            return


def _begin_sqlite(connection: Connection, *, clock: WallClock) -> None:
    mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
    if mode != "IMMEDIATE":
        connection.exec_driver_sql(f"BEGIN {mode}")
        return
    _begin_writing(connection)
    while not clock.is_followed():
        # In a transaction of its own, under the write lock: work that fails must not take it back.
        clock.follow(connection)
        _begin_writing(connection)


def _begin_writing(connection: Connection) -> None:
    writer = cast("Writer", connection.connection.driver_connection)
    end = time.monotonic() + WRITE_LOCK_WITHIN_S
    writer.wait_for_turn()
    try:
        writer.execute(f"PRAGMA busy_timeout = {LOOKS_MS}")
        _take_write_lock(connection, end=end)
    except BaseException:
        writer.give_up_turn()
        raise
    finally:
        writer.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_S * 1000}")


def _take_write_lock(connection: Connection, *, end: float) -> None:
    while True:
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError as error:
            if "locked" not in str(error.orig) or time.monotonic() > end:
                raise
        else:
            return
