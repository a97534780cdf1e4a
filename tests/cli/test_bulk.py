from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, text

from tests.cli.conftest import Cli
from worker.db.models import SunoTask
from worker.db.session import Sessions

HOOK = "https://receiver.example/hook"


def line(task_id: str, **arguments: str) -> str:
    """Return a line of a file that enqueues one task."""
    return json.dumps({"task_id": task_id, "action": "MUSIC", "notify_hook": HOOK} | arguments) + "\n"


def watched(sessions: Sessions) -> set[str]:
    """Return the ids that are under watch."""
    with sessions() as session:
        return set(session.scalars(select(SunoTask.task_id)))


def test_a_file_is_taken_line_by_line(cli: Cli, sessions: Sessions, folder: Path) -> None:
    """250 lines, three of them bad: 247 are watched, each bad one is named, and the exit code is 1."""
    lines = [line(f"song-{number}") for number in range(1, 251)]
    lines[6] = "{not json}\n"
    lines[99] = line("song-100", action="VIDEO")
    lines[249] = line("song-250", notify_hook="http://10.0.0.1/")
    (folder / "tasks.jsonl").write_text("".join(lines))

    result = cli("enqueue", "--file", "tasks.jsonl")

    assert result.exit_code == 1
    assert result.stdout == "247 now watched, 0 watched already, 3 refused\n"
    assert [one.split(": ")[:2] for one in result.stderr.splitlines()] == [
        ["line 7", "is not JSON"],
        ["line 100", "action"],
        ["line 250", "notify_hook"],
        ["Error", "3 lines were refused"],
    ]
    assert watched(sessions) == {f"song-{number}" for number in range(1, 250) if number not in {7, 100}}


def test_one_bad_line_is_told_of_as_one(cli: Cli) -> None:
    """The last line of the error is a sentence also then."""
    result = cli("enqueue", "--file", "-", stdin=line("song-1", action="VIDEO"))

    assert result.stderr.splitlines()[-1] == "Error: 1 line was refused: correct it and send it again"


def test_stdin_is_a_file_too(cli: Cli, sessions: Sessions) -> None:
    """`--file -` reads stdin; the last line needs no end, empty lines and Windows' signs do no harm."""
    stdin = "\ufeff" + line("song-1").replace("\n", "\r\n") + "\n  \n" + line("song-2").rstrip("\n")

    result = cli("enqueue", "--file", "-", stdin=stdin)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "2 now watched, 0 watched already, 0 refused\n"
    assert watched(sessions) == {"song-1", "song-2"}


def test_the_same_file_again_changes_nothing(cli: Cli, sessions: Sessions) -> None:
    """A file may be sent as often as one likes, and may name a task twice."""
    stdin = line("song-1") + line("song-2") + line("song-1")

    first, second = (cli("enqueue", "--file", "-", stdin=stdin) for _ in range(2))

    assert first.stdout == "2 now watched, 1 watched already, 0 refused\n"
    assert second.stdout == "0 now watched, 3 watched already, 0 refused\n"
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert watched(sessions) == {"song-1", "song-2"}


def test_an_empty_file_is_done_at_once(cli: Cli) -> None:
    """Nothing to do is no failure."""
    result = cli("enqueue", "--file", "-", stdin="")

    assert (result.exit_code, result.stdout) == (0, "0 now watched, 0 watched already, 0 refused\n")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"[" * 20_000, "is not JSON: "),
        (b'{"task_id": "\xff", "action": "MUSIC"}', "is not JSON: "),
        (b'["task_id"]', "must be an object like "),
        (b'"\\u001b[2J"', "must be an object like "),
        (b"x" * 70_000, "is longer than 64 KiB"),
        (b'{"task_id": "a"}', "action: missing"),
        (b'{"task_id": 7, "action": "MUSIC"}', "task_id: must be a string"),
        (b'{"task_id": "a\\u0000", "action": "MUSIC"}', "task_id: "),
        (b'{"task_id": "a", "action": "MUSIC", "\\u001b[2J": 1}', "\\x1b[2J: unknown argument"),
        (b'{"task_id": "a", "action": "MUSIC", "gateway": "[red]x"}', "gateway: '[red]x'"),
    ],
)
def test_a_bad_line_never_spoils_the_next(cli: Cli, sessions: Sessions, bad: bytes, reason: str) -> None:
    """Whatever stands in a line, it costs that line only, and no control character reaches the terminal."""
    result = cli("enqueue", "--file", "-", stdin=bad + b"\n" + line("song-2").encode())

    assert result.exit_code == 1
    assert result.stdout == "1 now watched, 0 watched already, 1 refused\n"
    assert result.stderr.startswith(f"line 1: {reason}")
    assert result.stderr.count("\n") == 2
    assert "\x1b" not in result.stderr
    assert watched(sessions) == {"song-2"}


class TablesGoAway(io.BytesIO):
    """A file of 1,250 lines; when line 750 is read, the table of Suno tasks disappears."""

    def __init__(self, engine: Engine) -> None:
        super().__init__("".join(line(f"song-{number}") for number in range(1, 1251)).encode())
        self._engine = engine
        self._lines = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line."""
        self._lines += 1
        if self._lines == 750:
            with self._engine.begin() as connection:
                connection.execute(text("ALTER TABLE suno_tasks RENAME TO hidden"))
        return super().readline(size)


def test_what_was_committed_before_a_failure_stays(cli: Cli, sessions: Sessions, engine: Engine) -> None:
    """When the database fails in the middle, the message says up to which line all is done."""
    result = cli("enqueue", "--file", "-", stdin=TablesGoAway(engine))

    assert result.exit_code == 1
    assert result.stderr.startswith("Error: stopped at line 501; all lines before it are done")
    assert "suno-worker migrate" in result.stderr
    assert result.stderr.count("\n") == 1
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO suno_tasks"))
    assert watched(sessions) == {f"song-{number}" for number in range(1, 501)}
