from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys

import pytest

from worker.embedded import tether

NOBODY = pwd.getpwnam("nobody")


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 128 + 9)])
def test_the_watchdog_gives_the_status_of_its_command(script: str, status: int) -> None:
    """The watchdog ends with its command, with the same exit status or 128 and the signal."""
    lifeline, near_end = os.pipe()

    watched = subprocess.run(command(lifeline, "sh", "-c", script), pass_fds=[lifeline], check=False)

    os.close(lifeline)
    os.close(near_end)
    assert watched.returncode == status


def test_the_watchdog_ends_its_command_at_the_end_of_the_lifeline() -> None:
    """When nobody holds the other end of the pipe any more, the command gets its last signal."""
    lifeline, near_end = os.pipe()
    with subprocess.Popen(command(lifeline, "sleep", "600"), pass_fds=[lifeline]) as watched:
        os.close(lifeline)
        os.close(near_end)

        assert watched.wait(timeout=20) == 128 + signal.SIGTERM


def test_the_watchdog_outlives_the_signals_of_its_group() -> None:
    """A signal to the group ends the command, and the watchdog reports that end instead of its own."""
    lifeline, near_end = os.pipe()
    script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done"
    with subprocess.Popen(
        command(lifeline, "sh", "-c", script),
        pass_fds=[lifeline],
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as watched:
        assert watched.stdout is not None
        watched.stdout.readline()
        os.killpg(watched.pid, signal.SIGTERM)

        assert watched.wait(timeout=20) == 7
    os.close(lifeline)
    os.close(near_end)


def test_root_is_given_up_completely_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The groups go first and the user last: without root the others could not be changed any more."""
    given_up: list[tuple[str, object]] = []
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda value, name=name: given_up.append((name, value)))

    tether.become_user("nobody")

    assert given_up == [("setgroups", []), ("setgid", NOBODY.pw_gid), ("setuid", NOBODY.pw_uid)]


def test_a_kernel_that_refuses_is_an_error() -> None:
    """Nothing runs untied: a promise that the kernel does not give stops the start."""
    no_signal = 999

    with pytest.raises(OSError, match="prctl"):
        tether.die_with_parent(parent=os.getppid(), last_signal=no_signal)


def command(lifeline: int, *watched: str) -> list[str]:
    """Return the command of a watchdog over `watched`, whose last signal is SIGTERM."""
    return [
        sys.executable,
        tether.__file__,
        str(os.getpid()),
        str(int(signal.SIGTERM)),
        "-",
        str(lifeline),
        *watched,
    ]
