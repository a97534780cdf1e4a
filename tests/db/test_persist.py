"""A record that fails because the database is away is tried again; a mistake of ours is not."""

from __future__ import annotations

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from worker.db import persist as persist_module
from worker.db.persist import Patience, describe, is_passing, persist
from worker.db.session import Sessions, make_engine, make_sessions, reading


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again without waiting."""
    monkeypatch.setattr(persist_module, "FIRST_PAUSE_S", 0.0)


def away() -> OperationalError:
    """Return what SQLAlchemy raises when the server is gone."""
    return OperationalError("SELECT 'secret'", {}, sqlite3.OperationalError("server is gone\nmore"))


def test_passing_trouble_is_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    """The third try succeeds, and each failure is one line without the statement."""
    errors = [away(), away()]

    def work() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert (
        persist(work, patience=Patience.of(timedelta(minutes=1), stop=threading.Event()), what="the record")
        == "done"
    )
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert all(line.endswith("tried again in 0.0 s: server is gone") for line in lines)


def test_trouble_that_does_not_pass_is_raised_in_the_end() -> None:
    """After `within` the caller hears of it: the lease is over."""

    def work() -> None:
        raise away()

    with pytest.raises(OperationalError):
        persist(work, patience=Patience.of(timedelta(0), stop=threading.Event()), what="the record")


def test_a_mistake_of_ours_is_raised_at_once(sessions: Sessions) -> None:
    """A broken constraint would not heal by itself."""
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        with sessions.begin() as session:
            session.execute(text("INSERT INTO poll_batches (gateway) VALUES ('nowhere')"))

    with pytest.raises(IntegrityError):
        persist(work, patience=Patience.of(timedelta(minutes=1), stop=threading.Event()), what="the record")
    assert len(tries) == 1


def test_a_worker_that_stops_does_not_wait() -> None:
    """One try is made; then the lease heals what could not be recorded."""
    stop = threading.Event()
    stop.set()
    tries: list[int] = []

    def work() -> None:
        tries.append(1)
        raise away()

    with pytest.raises(OperationalError):
        persist(work, patience=Patience.of(timedelta(minutes=1), stop=stop), what="the record")
    assert len(tries) == 1


def test_an_error_is_described_by_its_first_line() -> None:
    """Statements and their values may hold what should not be in a log."""
    assert describe(away()) == "server is gone"
    assert describe(ValueError()) == "ValueError"
    assert is_passing(away())
    assert not is_passing(ValueError())
    assert not is_passing(DataError("INSERT", {}, sqlite3.DataError("out of range")))


def test_a_missing_table_does_not_pass(tmp_path: Path) -> None:
    """SQLite calls it an operational error; no waiting heals it."""
    engine = make_engine(f"sqlite:///{tmp_path / 'new.db'}")
    with engine.connect() as connection, pytest.raises(OperationalError) as caught:
        connection.execute(text("SELECT * FROM suno_tasks"))
    assert not is_passing(caught.value)
    engine.dispose()


def test_a_reader_waits_for_no_writer_on_sqlite(sqlite_url: str) -> None:
    """`status` answers while a writing transaction is open, and its own reads block no writer."""
    engine = make_engine(sqlite_url)
    sessions = make_sessions(engine)
    with sessions.begin() as writer:
        writer.execute(text("INSERT INTO gateways (name) VALUES ('hub')"))
        with reading(sessions) as reader:
            assert reader.execute(text("SELECT count(*) FROM gateways")).scalar_one() == 0
    engine.dispose()


def test_every_sqlite_connection_keeps_its_promises(tmp_path: Path) -> None:
    """Foreign keys hold, commits survive a power cut, and writers wait 10 s for each other."""
    engine = make_engine(f"sqlite:///{tmp_path / 'new.db'}")
    with engine.connect() as connection:
        found = {
            name: connection.execute(text(f"PRAGMA {name}")).scalar_one()
            for name in ("foreign_keys", "journal_mode", "synchronous", "busy_timeout")
        }
    assert found == {"foreign_keys": 1, "journal_mode": "wal", "synchronous": 2, "busy_timeout": 10_000}
    engine.dispose()
