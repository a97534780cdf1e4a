"""The parts of the demo's surroundings that only show when something goes wrong."""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import click
import pytest

from worker.cli import rehearsal
from worker.cli.rehearsal import check_runs, interruptible, only_variables, rehearse, wait_until_ready
from worker.embedded.children import spawn
from worker.settings import load_settings


def test_an_installation_that_ended_says_its_last_words(tmp_path: Path) -> None:
    """When `up` ends by itself, the error has its status and its last 15 lines, made printable."""
    log = tmp_path / "up.log"
    with log.open("wb") as output:
        child = spawn(
            [
                sys.executable,
                "-c",
                "[print(n) for n in range(20)]; print('\\x1b[31mbad'); raise SystemExit(3)",
            ],
            output=output,
        )
    child.wait()
    with pytest.raises(click.ClickException) as caught:
        check_runs(child, log=log)

    lines = caught.value.message.splitlines()
    assert lines[0] == "`suno-worker up` ended with status 3; its last lines:"
    assert lines[1:] == [*(f"  {number}" for number in range(6, 20)), r"  \x1b[31mbad"]


def test_an_installation_that_does_not_start_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no broker appears in time, the wait ends with an error."""
    monkeypatch.setattr(rehearsal, "START_DEADLINE_S", 0.2)
    log = tmp_path / "up.log"
    log.touch()
    settings = load_settings({"WORKER_DATABASE_URL": f"sqlite:///{tmp_path}/worker.db"})
    child = spawn([sys.executable, "-c", "input()"], stdin=-1)
    try:
        with pytest.raises(
            click.ClickException, match=r"^`suno-worker up` was not ready within 0 s; its last"
        ):
            wait_until_ready(settings=settings, up=child, log=log)
    finally:
        assert child.process.stdin is not None
        child.process.stdin.close()
        child.stop(grace=5)


def test_the_callers_variables_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the block only our variables `WORKER_…` are there; afterwards the caller's are as they were."""
    monkeypatch.setenv("WORKER_POLL_INTERVAL", "7")
    monkeypatch.setenv("worker_log_level", "DEBUG")
    with only_variables({"WORKER_POLL_INTERVAL": "1", "WORKER_STUCK_AFTER": "2"}):
        inside = {name: value for name, value in os.environ.items() if name.upper().startswith("WORKER_")}
    outside = {name: value for name, value in os.environ.items() if name.upper().startswith("WORKER_")}

    assert inside == {"WORKER_POLL_INTERVAL": "1", "WORKER_STUCK_AFTER": "2"}
    assert outside == {"WORKER_POLL_INTERVAL": "7", "worker_log_level": "DEBUG"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_like_an_interrupt(number: signal.Signals) -> None:
    """Inside the block SIGTERM and SIGHUP raise as Ctrl-C does; afterwards they do what they did before."""
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interruptible():
        signal.raise_signal(number)

    assert signal.getsignal(number) is before


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library that verifies, nothing starts and the error says how to install it."""
    monkeypatch.setitem(sys.modules, "standardwebhooks.webhooks", None)

    with (
        pytest.raises(click.ClickException, match=r"pip install 'suno-worker\[sandbox\]'$"),
        rehearse(lasts=timedelta(0), say=lambda _webhook: None),
    ):
        pytest.fail("nothing may be started")
