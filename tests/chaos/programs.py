"""The processes of an installation: started, killed, stopped, watched."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.embedded.children import Child, spawn

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
LOOK_EVERY_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A running process that leads a session of its own; `log` has all that it writes."""

    child: Child
    log: Path

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self.child.process.pid

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        self.child.send(signal.SIGKILL)
        self.child.wait(timeout=PATIENCE_S)

    def stop(self, *, grace: float = PATIENCE_S) -> int:
        """SIGTERM; SIGKILL after `grace`; return the exit status."""
        return self.child.stop(grace=grace)

    def wait(self, *, seconds: float) -> int | None:
        """Return the exit status once the process has ended; None when it still runs after so long."""
        try:
            return self.child.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def wait_for(self, words: str, *, seconds: float = PATIENCE_S) -> None:
        """Return when `words` were written; fail when the program ends or stays silent."""
        deadline = time.monotonic() + seconds
        while words not in (said := self.log.read_text(errors="replace")):
            if time.monotonic() > deadline or self.child.ended() is not None:
                raise AssertionError(f"{words!r} was not said in {self.log}:\n{said[-4000:]}")
            time.sleep(LOOK_EVERY_S)


def start_celery(*arguments: str, settings: Mapping[str, str], folder: Path, log: Path) -> Program:
    """Run `celery -A worker ARGUMENTS` as README says. From the main thread only."""
    return start([sys.executable, "-m", "celery", "-A", "worker", *arguments], settings, folder, log)


def start_up(*arguments: str, settings: Mapping[str, str], folder: Path, log: Path) -> Program:
    """Run `suno-worker up`. From the main thread only."""
    return start([sys.executable, "-m", "worker", "up", *arguments], settings, folder, log)


def start(command: list[str], settings: Mapping[str, str], folder: Path, log: Path) -> Program:
    """Run a command of this tree with these settings and no other; it ends with this process."""
    with log.open("ab") as output:
        child = spawn(command, environment=environment(settings), folder=folder, output=output)
    return Program(child=child, log=log)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return what a child gets: this tree first on its path, our settings alone, and no coverage.

    A killed process writes no coverage, and measuring would only make it slow.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(("WORKER_", "COVERAGE_", "COV_CORE_"))
    }
    return {**inherited, "PYTHONPATH": str(ROOT), **settings}
