"""The command line as real processes: exit codes, pipes, terminals, signals; never a traceback."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.cli.conftest import HUB
from tests.factory import add_delivery, add_gateway, add_task
from worker.db.session import Sessions, make_engine, make_sessions

PROGRAM = str(Path(sys.executable).with_name("suno-worker"))
PATIENCE_S = 30
STYLE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def environment(sqlite_url: str) -> dict[str, str]:
    """Give the environment of a shell in which the database and one gateway are set."""
    return {**os.environ, **HUB, "WORKER_DATABASE_URL": sqlite_url}


@pytest.fixture
def file_sessions(sqlite_url: str) -> Iterator[Sessions]:
    """Give sessions on the database that the processes use."""
    engine = make_engine(sqlite_url)
    yield make_sessions(engine)
    engine.dispose()


def run(
    arguments: Sequence[str], environment: dict[str, str], *, stdin: str = "", encoding: str = "utf-8"
) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    return subprocess.run(
        [PROGRAM, *arguments],
        env=environment,
        input=stdin,
        capture_output=True,
        encoding=encoding,
        timeout=PATIENCE_S,
        check=False,
    )


def run_at_terminal(
    arguments: Sequence[str], environment: dict[str, str], *, stdin: bytes = b""
) -> tuple[int, str]:
    """Run a verb with stdout and stderr at a terminal of 120 columns; return exit code and what was seen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, *arguments],
        env={**environment, "COLUMNS": "120", "TERM": "xterm"},
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    seen = b""
    try:
        while part := os.read(ours, 65_536):
            seen += part
    except OSError:  # Linux says EIO when the last writer has gone
        pass
    os.close(ours)
    return process.wait(timeout=PATIENCE_S), seen.decode()


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["enqueue", "song-1", "--action", "MUSIC"], 0),
        (["status", "--json"], 0),
        (["show", "song-1"], 1),
        (["enqueue", "song-1", "--action", "MUSIC", "--notify-hook", "gopher://x"], 1),
        (["show"], 2),
        (["status", "--jsn"], 2),
        ([], 2),
    ],
)
def test_the_exit_code_tells_how_it_ended(
    environment: dict[str, str], arguments: list[str], exit_code: int
) -> None:
    """0 done, 1 failed with one line, 2 wrong usage; each with no traceback."""
    done = run(arguments, environment)

    assert done.returncode == exit_code
    assert "Traceback" not in done.stdout + done.stderr
    assert (done.stderr == "") == (exit_code == 0)
    if exit_code == 1:
        assert done.stderr.count("\n") == 1


def test_python_m_worker_is_the_same(environment: dict[str, str]) -> None:
    """`python -m worker` is `suno-worker`."""
    command = [sys.executable, "-m", "worker", "status", "--json"]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout)["tasks"]["SUBMITTED"] == 0


def test_a_pipe_brings_many_tasks(environment: dict[str, str]) -> None:
    """`… | suno-worker enqueue --file -` takes what comes."""
    lines = "".join(json.dumps({"task_id": f"s{n}", "action": "LYRICS"}) + "\n" for n in range(150))

    done = run(["enqueue", "--file", "-"], environment, stdin=lines)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "150 now watched, 0 watched already, 0 refused\n"


@pytest.mark.parametrize("arguments", [["show", "song-1", "--json"], ["show", "song-1"], ["--help"]])
def test_a_reader_that_went_away_is_no_traceback(
    environment: dict[str, str], file_sessions: Sessions, arguments: list[str]
) -> None:
    """`suno-worker … | head -0`: the verb ends in silence."""
    with file_sessions.begin() as session:
        add_gateway(session)
        add_task(session, task_id="song-1", status="SUCCESS", data=json.dumps("x" * 200_000))
    read_end, write_end = os.pipe()
    os.close(read_end)

    done = subprocess.run(
        [PROGRAM, *arguments],
        env=environment,
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_full_disk_is_one_line(environment: dict[str, str]) -> None:
    """Output that cannot be written ends with exit code 1 and the system's own word."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [PROGRAM, "status"], env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert (done.returncode, done.stderr) == (1, "Error: No space left on device: make room on the disk\n")


def test_an_old_terminal_shows_escapes(environment: dict[str, str], file_sessions: Sessions) -> None:
    """Where the encoding lacks a character, its escape is printed; JSON is UTF-8 everywhere."""
    with file_sessions.begin() as session:
        add_gateway(session)
        add_task(session, task_id="song-1", status="FAILURE", fail_reason="龍 é")
    western = {**environment, "PYTHONIOENCODING": "latin-1"}

    person = run(["show", "song-1"], western, encoding="latin-1")
    machine = run(["show", "song-1", "--json"], western)

    assert (person.returncode, machine.returncode) == (0, 0)
    assert "\\u9f8d é" in person.stdout
    assert json.loads(machine.stdout)["fail_reason"] == "龍 é"


def test_a_person_sees_tables(environment: dict[str, str], file_sessions: Sessions) -> None:
    """At a terminal tables are drawn, and a stranger's markup and escapes stay text."""
    with file_sessions.begin() as session:
        add_gateway(session, last_error="[red]x[/red]\x1b[2J")

    exit_code, seen = run_at_terminal(["status"], environment)

    assert exit_code == 0
    assert "┃ status      ┃ number ┃" in STYLE.sub("", seen)
    assert "[red]x[/red]\\x1b[2J" in seen
    assert "\x1b[2J" not in seen


def test_a_person_sees_a_bar(environment: dict[str, str], tmp_path: Path) -> None:
    """At a terminal `enqueue --file` shows how far it is, and a bad line is not lost below the bar."""
    lines = [json.dumps({"task_id": f"s{n}", "action": "MUSIC"}) for n in range(300)]
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join([*lines[:150], "oops", *lines[150:]]))

    exit_code, seen = run_at_terminal(["enqueue", "--file", str(file)], environment)

    assert exit_code == 1
    assert "━" in seen
    assert "line 151: is not JSON" in seen
    assert "300 now watched, 0 watched already, 1 refused" in seen


def test_a_person_sees_how_fast_a_recovery_goes(environment: dict[str, str], file_sessions: Sessions) -> None:
    """At a terminal a bar shows how many of how many, and the rate; at its end it gives way to one line."""
    with file_sessions.begin() as session:
        add_gateway(session)
        for _ in range(250):
            add_delivery(session, state="DISCARDED", discarded_at=datetime.now(UTC) - timedelta(hours=1))

    exit_code, seen = run_at_terminal(["recover", "--since", "2h"], environment)

    text = STYLE.sub("", seen)
    assert exit_code == 0
    assert "250/250" in text
    assert re.search(r"\d/s", text)
    assert re.fullmatch(
        r".*250 deliveries given up from \S+ \S+Z to \S+ \S+Z are due now", text.splitlines()[-1]
    )


@pytest.mark.parametrize("arguments", [["--json"], []])
def test_watch_goes_on_until_ctrl_c(environment: dict[str, str], arguments: list[str]) -> None:
    """`status --watch` looks again and again; Ctrl-C ends it with exit code 0."""
    command = [PROGRAM, "status", "--watch", *arguments]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        looks = 0
        while looks < 2:
            looks += "SUBMITTED" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=PATIENCE_S)

    assert (process.returncode, stderr) == (0, "")


def test_watch_at_a_terminal_is_drawn_in_place(environment: dict[str, str]) -> None:
    """At a terminal `--watch` redraws one picture; Ctrl-C leaves the cursor visible."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, "status", "--watch"], env={**environment, "TERM": "xterm"}, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    seen = b""
    while seen.count(b"SUBMITTED") < 2:
        seen += os.read(ours, 65_536)
    process.send_signal(signal.SIGINT)
    try:
        while part := os.read(ours, 65_536):
            seen += part
    except OSError:  # Linux says EIO when the last writer has gone
        pass
    os.close(ours)

    assert process.wait(timeout=PATIENCE_S) == 0
    assert b"\x1b[?25h" in seen
    assert b"Traceback" not in seen
