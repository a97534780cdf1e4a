"""Child processes that never outlive their parent, and that hear a signal exactly once.

Each child leads its own session, so Ctrl-C in the terminal and a hang-up reach only the parent, which then
decides in which order its children stop. What binds a child to its parent is in `tether.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

TETHER = Path(__file__).with_name("tether.py")
KERNEL_TELLS = sys.platform == "linux"  # of a parent's death


class StartCalledOff(Exception):
    """A stop was asked for while a child was starting; it has been ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A running child. `lifeline` is our end of the watchdog's pipe where the kernel gives no promise."""

    process: subprocess.Popen[bytes]
    lifeline: IO[bytes] | None = None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the child and its watchdog; a child that has ended is not an error."""
        if self.process.poll() is None:  # Not waited for yet, so its number is still its own.
            os.killpg(self.process.pid, number)

    def ended(self) -> int | None:
        """Give back the exit status of a child that has ended, None for one that runs."""
        return None if self.process.poll() is None else self.wait()

    def wait(self, *, timeout: float | None = None) -> int:
        """Wait for the end and give back the exit status; raise `TimeoutExpired` when it does not come."""
        status = self.process.wait(timeout)
        if self.lifeline is not None:
            self.lifeline.close()
        return status

    def stop(self, *, grace: float, first: signal.Signals = signal.SIGTERM) -> int:
        """Ask the child to end, kill it after `grace` seconds, and give back its exit status."""
        self.send(first)
        try:
            return self.wait(timeout=grace)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            return self.wait()


def spawn(
    command: Sequence[str | Path],
    *,
    last_signal: signal.Signals = signal.SIGKILL,
    environment: Mapping[str, str] | None = None,
    user: str | None = None,
    folder: Path | None = None,
    stdin: int | IO[bytes] = subprocess.DEVNULL,
    output: int | IO[bytes] | None = None,
    hand_down: Sequence[int] = (),
) -> Child:
    """Start `command`, which gets `last_signal` when this process ends for any reason, SIGKILL included.

    Call it from the main thread: the kernel takes the end of the thread that started a child for the parent's
    end. `output` takes stdout and stderr, which are inherited by default; `hand_down` are descriptors that
    the child keeps open; `user` needs root.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("spawn() was called outside the main thread: its child would end with that thread")
    far_end, near_end = (None, None) if KERNEL_TELLS else os.pipe()
    try:
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", TETHER, str(os.getpid()), str(int(last_signal)), user or "-"),
                *("-" if far_end is None else str(far_end), *command),
            ],
            stdin=stdin,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=folder,
            pass_fds=(*hand_down, *(() if far_end is None else (far_end,))),
            start_new_session=True,
        )
    finally:
        if far_end is not None:
            os.close(far_end)
    return Child(process=process, lifeline=None if near_end is None else os.fdopen(near_end, "wb"))
