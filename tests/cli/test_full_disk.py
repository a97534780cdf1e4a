"""The verbs on a disk that is full and on a SQLite file that is read-only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select

from tests.chaos.small_disk import Disk, small_disk
from tests.cli.conftest import Cli
from tests.factory import add_delivery, add_gateway, add_task
from worker.db.models import Delivery, SunoTask
from worker.db.session import Sessions, make_engine

LINES = 2_000
ENQUEUE = ("enqueue", "new", "--action", "MUSIC")


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Give a SQLite file."""
    return sqlite_url


class Room:
    """What is there for the file; a test changes it."""

    disk = Disk.ROOM
    pages = 1


@pytest.fixture
def room() -> Iterator[Room]:
    """Give the disk of this process."""
    room = Room()
    with small_disk(lambda: room.disk, pages=lambda: room.pages):
        yield room


@pytest.fixture
def finished(sessions: Sessions) -> None:
    """Have a finished task whose delivery was given up."""
    with sessions.begin() as session:
        add_gateway(session)
        task = add_task(session, task_id="old", status="SUCCESS", data="{}")
        add_delivery(session, suno_task_id=task, state="DISCARDED")


def watched(sessions: Sessions) -> int:
    """Count the Suno tasks."""
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(SunoTask)) or 0


def lines(number: int) -> str:
    """Return the text of a file of so many requests, each of some hundred bytes."""
    hook = "https://receiver.example/" + "x" * 500
    requests = (
        {"task_id": f"line-{n}", "action": "MUSIC", "notify_hook": hook} for n in range(1, number + 1)
    )
    return "".join(json.dumps(request) + "\n" for request in requests)


def test_a_file_of_requests_stops_where_the_disk_is_full(
    cli: Cli, sessions: Sessions, room: Room, folder: Path
) -> None:
    """One line says where; all before it is done, nothing after it, and the same file again does the rest."""
    (folder / "tasks.jsonl").write_text(lines(LINES))
    room.disk, room.pages = Disk.FULL, 200
    result = cli("enqueue", "--file", "tasks.jsonl")

    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    stopped_at, _, rest = line.removeprefix("Error: stopped at line ").partition("; ")
    assert rest.startswith(
        "all lines before it are done, and sending them again changes nothing: SQLite file "
    )
    assert rest.endswith("database or disk is full: make room on the disk")
    done = int(stopped_at) - 1
    assert 0 < done < LINES
    assert watched(sessions) == done

    room.disk = Disk.ROOM
    result = cli("enqueue", "--file", "tasks.jsonl")
    assert result.exit_code == 0
    assert result.stdout == f"{LINES - done} now watched, {done} watched already, 0 refused\n"
    assert watched(sessions) == LINES


@pytest.mark.parametrize("verb", [ENQUEUE, ("resend", "old")], ids=["enqueue", "resend"])
@pytest.mark.usefixtures("finished")
def test_a_verb_says_that_the_file_is_read_only(
    cli: Cli, sessions: Sessions, room: Room, verb: tuple[str, ...]
) -> None:
    """One line says so and what to do, nothing is changed, and with a writable file the verb goes on."""
    room.disk = Disk.READ_ONLY
    result = cli(*verb)

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.endswith(
        "attempt to write a readonly database: make the file and its folder writable for this user\n"
    )
    assert result.stderr.count("\n") == 1
    room.disk = Disk.ROOM
    assert watched(sessions) == 1
    with sessions() as session:
        assert session.scalars(select(Delivery.state)).one() == "DISCARDED"
    assert cli(*verb).exit_code == 0


@pytest.mark.parametrize(
    "verb", ["status", "show old", "origins", "rejections", "recover --since 1h --dry-run"]
)
@pytest.mark.usefixtures("finished")
def test_what_only_reads_needs_no_room(cli: Cli, room: Room, verb: str) -> None:
    """Neither a full disk nor a read-only file keeps anyone from looking."""
    for room.disk in (Disk.FULL, Disk.READ_ONLY):
        result = cli(*verb.split())
        assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["migrate", "up"])
def test_a_new_file_on_a_full_disk_gets_no_half_of_its_tables(
    bare_cli: Cli, room: Room, folder: Path, verb: str
) -> None:
    """The migration is one transaction: one line says that the disk is full, and no table is there."""
    room.disk, room.pages = Disk.FULL, 10
    result = bare_cli(verb)

    assert result.exit_code == 1
    last = result.stderr.splitlines()[-1]
    assert last.endswith("database or disk is full: make room on the disk")
    assert "Traceback" not in result.stderr
    engine = make_engine(f"sqlite:///{folder / 'worker.db'}")
    assert inspect(engine).get_table_names() == []
    engine.dispose()

    room.disk = Disk.ROOM
    assert bare_cli("migrate").exit_code == 0
