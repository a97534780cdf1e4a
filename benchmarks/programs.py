"""Programs as processes of their own: ours, simulated peers, what is measured; none outlives its block."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from worker.embedded.children import Child, spawn

GRACE_S = 30.0
START_S = 60.0
READY = " ready."  # the last word of Celery's start
ROOT = Path(__file__).parents[1]


@contextmanager
def running(
    command: Sequence[str | Path],
    *,
    settings: Mapping[str, str],
    log: Path,
    ready: str = READY,
    grace: float = GRACE_S,
) -> Iterator[Child]:
    """Run a program that writes to `log`, from the moment at which it says `ready`; SIGTERM ends it.

    After the grace, SIGKILL does.
    """
    with log.open("wb") as output:
        child = spawn(command, environment={**os.environ, **settings}, folder=ROOT, output=output)
    try:
        end = time.monotonic() + START_S
        while ready not in log.read_text(errors="replace"):
            if child.ended() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            Event().wait(0.02)
        yield child
    finally:
        child.stop(grace=grace)


@contextmanager
def peer(module: str, *options: str) -> Iterator[list[int]]:
    """Run a simulated peer and give its ports."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    far_end, near_end = os.pipe()
    with os.fdopen(far_end, encoding="utf-8") as said:
        try:
            child = spawn(command, folder=ROOT, output=near_end)
        finally:
            os.close(near_end)
        try:
            yield json.loads(said.readline())
        finally:
            child.stop(grace=0)


def measure(module: str, *arguments: str) -> dict[str, float]:
    """Run a measured process to its end and return what it printed."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return dict(json.loads(done.stdout.splitlines()[-1]))
