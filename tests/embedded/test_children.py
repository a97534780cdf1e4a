from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.processes import running, wait_until_gone
from worker.embedded import children, tether
from worker.embedded.children import spawn

SLEEP = ["sleep", "600"]

# A parent that starts one child, tells its process id, and then waits to be killed.
PARENT = """\
import signal, subprocess, sys
from worker.embedded import children
children.KERNEL_TELLS = sys.argv[1] == "kernel"
child = children.spawn(["sleep", "600"])
print(child.process.pid, flush=True)
signal.pause()
"""


@pytest.fixture(params=["kernel", "watchdog"])
def promise(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with each of the two ways in which a child learns of its parent's end."""
    if request.param == "watchdog":
        monkeypatch.setattr(children, "KERNEL_TELLS", False)
    return str(request.param)


def test_a_child_does_not_survive_its_parents_sigkill(promise: str) -> None:
    """SIGKILL of the parent, which no handler sees, ends the child and its watchdog."""
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, promise], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert running(session=pid)

        parent.kill()

        wait_until_gone(session=pid)


@pytest.mark.usefixtures("promise")
def test_a_child_hears_a_signal_once_and_its_status_comes_back(tmp_path: Path) -> None:
    """`stop` sends one SIGTERM, also past a watchdog, and gives back the exit status of the command."""
    heard = tmp_path / "heard"
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    child = spawn(
        ["sh", "-c", f"trap 'echo term >> {heard}; exit 7' TERM; : > {ready}; while :; do sleep 1; done"]
    )
    ready.read_bytes()

    assert child.stop(grace=20) == 7
    assert heard.read_text() == "term\n"


@pytest.mark.usefixtures("promise")
def test_a_child_that_ignores_the_request_is_killed_after_its_grace(tmp_path: Path) -> None:
    """A child that ignores SIGTERM is gone when `stop` returns."""
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    child = spawn(["sh", "-c", f"trap '' TERM; : > {ready}; exec sleep 600"])
    ready.read_bytes()

    child.stop(grace=0.05)

    assert running(session=child.process.pid) == []


@pytest.mark.usefixtures("promise")
def test_the_output_environment_and_folder_are_the_childs(tmp_path: Path) -> None:
    """A child gets exactly the environment, working folder and output that it was given."""
    output = tmp_path / "output"
    with output.open("wb") as stream:
        child = spawn(
            ["sh", "-c", "echo $COLOUR; pwd"], environment={"COLOUR": "red"}, folder=tmp_path, output=stream
        )

    assert child.wait(timeout=20) == 0
    assert output.read_text() == f"red\n{tmp_path}\n"


def test_a_signal_to_a_child_that_has_ended_is_no_error() -> None:
    """`send` after the end does nothing."""
    child = spawn(["true"])
    assert child.wait(timeout=20) == 0

    child.send(signal.SIGTERM)

    assert child.ended() == 0


def test_a_child_of_another_thread_is_refused() -> None:
    """Outside the main thread `spawn` raises, because the kernel would end the child with that thread."""
    refusals: list[str] = []

    def start() -> None:
        try:
            spawn(SLEEP)
        except RuntimeError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    assert refusals == ["spawn() was called outside the main thread: its child would end with that thread"]


def test_a_command_that_does_not_exist_ends_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    """A missing program ends with status 1 and names itself."""
    child = spawn(["no-such-program"])

    assert child.wait(timeout=20) == 1
    assert "No such file or directory" in capfd.readouterr().err


def test_a_parent_that_is_gone_already_ends_the_child() -> None:
    """A child whose parent died before the kernel was asked ends by itself."""
    not_our_parent = "1"
    process = subprocess.run(
        [sys.executable, tether.__file__, not_our_parent, str(int(signal.SIGTERM)), "-", "-", *SLEEP],
        check=False,
    )

    assert process.returncode == -signal.SIGKILL
