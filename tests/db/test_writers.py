"""The writers of one SQLite file take turns."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from queue import SimpleQueue
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError, OperationalError

from worker.db import session as session_module
from worker.db import writers
from worker.db.session import Sessions, make_engine, make_sessions, reading
from worker.db.writers import Line, Turn

PATIENCE_S = 20.0
WRITE = text("INSERT INTO rejections (at, source, reason, arguments) VALUES ('2030-01-01', :by, '', '{}')")
WRITTEN = text("SELECT source FROM rejections ORDER BY id")

# A child of a process in which a thread has its turn: the child has no such thread.
FORKS = """
import os, sys
from sqlalchemy import make_url, text
from worker.db import writers
from worker.db.session import make_engine, make_sessions
writers.IN_LINE_S = 3600.0
turn = writers.line_of(make_url(sys.argv[1]).database).join()
child = os.fork()
if child == 0:
    with make_sessions(make_engine(sys.argv[1])).begin() as session:
        session.execute(text(sys.argv[2]), {"by": "child"})
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Give a SQLite file: PostgreSQL locks rows."""
    return sqlite_url


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> SimpleQueue[Turn]:
    """Tell who comes to the line, at the moment in which he stands in it."""
    turns: SimpleQueue[Turn] = SimpleQueue()
    join = Line.join

    def told(line: Line) -> Turn:
        turn = join(line)
        turns.put(turn)
        return turn

    monkeypatch.setattr(Line, "join", told)
    return turns


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Give threads that write."""
    with ThreadPoolExecutor(10) as pool:
        yield pool


def write(sessions: Sessions, by: str | None, *, most_pages: int | None = None) -> None:
    """Write one row."""
    with sessions.begin() as session:
        if most_pages is not None:
            session.execute(text(f"PRAGMA max_page_count = {most_pages}"))
        session.execute(WRITE, {"by": by})


def written(sessions: Sessions) -> list[str]:
    """Return who wrote, in order."""
    with reading(sessions) as session:
        return list(session.scalars(WRITTEN))


def test_writers_write_in_the_order_in_which_they_came(
    sessions: Sessions, joined: SimpleQueue[Turn], threads: ThreadPoolExecutor
) -> None:
    """Whoever came first writes first, through whichever engine; nobody who comes later passes."""
    other = make_engine(sessions.kw["bind"].url)
    with sessions.begin() as session:
        session.execute(WRITE, {"by": "first"})
        joined.get(timeout=PATIENCE_S)
        waiting = []
        for number in range(8):
            of = make_sessions(other) if number % 2 else sessions
            waiting.append(threads.submit(write, of, str(number)))
            turn = joined.get(timeout=PATIENCE_S)
            assert not turn.came
    for one in waiting:
        one.result(timeout=PATIENCE_S)
    other.dispose()

    assert written(sessions) == ["first", *map(str, range(8))]


def test_readers_stand_in_no_line(sessions: Sessions, joined: SimpleQueue[Turn]) -> None:
    """A session that only reads waits for no writer."""
    with sessions.begin() as session:
        session.execute(WRITE, {"by": "first"})
        joined.get(timeout=PATIENCE_S)
        assert written(sessions) == []

    assert joined.empty()


def test_a_turn_ends_with_its_transaction_however_that_ends(
    sessions: Sessions, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work that fails, a commit that fails and a connection that is cut off keep nobody waiting."""
    monkeypatch.setattr(writers, "IN_LINE_S", 3600.0)
    with pytest.raises(IntegrityError):
        write(sessions, None)
    with pytest.raises(OperationalError, match="full"):
        write(sessions, "x" * 100_000, most_pages=1)  # SQLite takes it for as many as there are
    with engine.connect() as connection:
        connection.execute(WRITE, {"by": "cut off"})
        connection.invalidate()
    engine.dispose()

    write(sessions, "next")

    assert written(sessions) == ["next"]


def test_a_transaction_inside_another_is_refused_by_sqlite(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> None:
    """A thread that waits for itself is told so in the end; what it began first goes on, and so do others."""
    monkeypatch.setattr(writers, "IN_LINE_S", 0.05)
    monkeypatch.setattr(session_module, "WRITE_LOCK_WITHIN_S", 0.1)
    with sessions.begin() as outer:
        outer.execute(WRITE, {"by": "outer"})
        with pytest.raises(OperationalError, match="locked"):
            write(sessions, "inner")
    threads.submit(write, sessions, "next").result(timeout=PATIENCE_S)

    assert written(sessions) == ["outer", "next"]


def test_other_processes_are_waited_for(
    sessions: Sessions, joined: SimpleQueue[Turn], threads: ThreadPoolExecutor
) -> None:
    """A lock that somebody else holds is waited for, and the wait of other statements is what it was."""
    stranger = sqlite3.connect(sessions.kw["bind"].url.database, isolation_level=None)
    stranger.execute("BEGIN IMMEDIATE")
    waiting = threads.submit(write, sessions, "ours")
    assert joined.get(timeout=PATIENCE_S).came
    with sessions() as session:  # a look at the file, while the other waits
        session.connection(execution_options={"sqlite_begin": "DEFERRED"})
    assert not waiting.done()
    stranger.execute("COMMIT")
    stranger.close()
    waiting.result(timeout=PATIENCE_S)

    with sessions.begin() as session:
        assert session.scalar(text("PRAGMA busy_timeout")) == 10_000
    assert written(sessions) == ["ours"]


def test_a_forked_child_does_not_wait_for_threads_that_it_has_not(sqlite_url: str) -> None:
    """A child writes although a thread of its parent had its turn when it was forked."""
    program = [sys.executable, "-c", FORKS, sqlite_url, WRITE.text]

    done = subprocess.run(program, check=False, timeout=PATIENCE_S, capture_output=True)

    assert (done.returncode, done.stderr) == (0, b"")
    assert written(make_sessions(make_engine(sqlite_url))) == ["child"]


def test_whoever_leaves_the_middle_of_a_line_lets_nobody_pass() -> None:
    """One that gave up waiting is gone; those behind it come after those before it."""
    line = Line()
    first, second, third = line.join(), line.join(), line.join()

    line.leave(second)
    assert not third.came
    line.leave(first)
    line.leave(first)

    assert third.came


def test_a_file_has_one_line(sqlite_url: str, tmp_path: object) -> None:
    """However a file is named, its writers stand in the same line."""
    file = sqlite_url.removeprefix("sqlite:///")
    line = writers.line_of(file)

    assert writers.line_of(f"{tmp_path}/./worker.db") is line
    assert writers.line_of(f"{file}-other") is not line


@pytest.mark.parametrize("action", ["joins", "waits", "leaves"])
def test_a_forgotten_connection_may_leave_at_any_moment(action: str) -> None:
    """The garbage collector finds it in whichever thread and at whichever line; then this one goes on, and
    whoever is next is told.
    """
    for moment in count():
        line = Line()
        forgotten, second = line.join(), line.join()
        acts: dict[str, Callable[[], object]] = {
            "joins": line.join,
            "waits": partial(second.wait, 0.01),
            "leaves": partial(line.leave, second),
        }
        if not runs_with(partial(line.leave, forgotten), acts[action], at=moment):
            break
        assert second.came
    assert moment > 1


def runs_with(interruption: Callable[[], None], action: Callable[[], object], *, at: int) -> bool:
    """Run an action in a thread, interrupted at one of its lines; say whether it has so many."""
    lines = count()
    done: SimpleQueue[BaseException | None] = SimpleQueue()

    def trace(_frame: FrameType, what: str, _argument: object) -> Callable[..., Any]:
        if what == "line" and next(lines) == at:
            interruption()
        return trace

    def act() -> None:
        before, error = sys.gettrace(), None
        sys.settrace(trace)
        try:
            action()
        except BaseException as raised:  # noqa: BLE001 - told where it is awaited
            error = raised
        finally:
            sys.settrace(before)
            done.put(error)

    threading.Thread(target=act, daemon=True).start()
    error = done.get(timeout=PATIENCE_S)  # Empty: it waits for itself
    assert error is None
    return next(lines) > at + 1
