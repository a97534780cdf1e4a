"""The real `celery -A worker …` and other programs, as processes whose words can be awaited."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from worker.embedded.children import Child, spawn

PATIENCE_S = 30.0
STOP_GRACE_S = 20.0

# Nothing listens there: whoever polls gets "connection refused" at once.
NO_GATEWAY = {
    "WORKER_GATEWAYS__MAIN__BASE_URL": "http://127.0.0.1:9",
    "WORKER_GATEWAYS__MAIN__API_KEY": "sk-of-the-main-gateway",
}


@dataclass(slots=True)
class Output:
    """What a program has written so far."""

    text: str = ""
    ended: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)

    def read(self, descriptor: int) -> None:
        """Take in all that comes until the program ends."""
        with open(descriptor, encoding="utf-8", errors="replace") as pipe:  # a pipe has no path
            for line in pipe:
                self._add(line)
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def _add(self, line: str) -> None:
        with self.changed:
            self.text += line
            self.changed.notify_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A running program."""

    child: Child
    output: Output

    def wait_for(self, words: str) -> str:
        """Return what was written once `words` are in it; fail when the program ends or stays silent."""
        return self.wait_until(lambda text: words in text, what=repr(words))

    def wait_until(self, holds: Callable[[str], bool], *, what: str) -> str:
        """Return what was written once it is as asked; fail when the program ends or stays silent."""
        output = self.output
        with output.changed:
            output.changed.wait_for(lambda: holds(output.text) or output.ended, timeout=PATIENCE_S)
            assert holds(output.text), f"{what} was not said:\n{output.text}"
            return output.text

    def end(self) -> str:
        """Wait until the program has ended by itself; return all that it wrote."""
        try:
            self.child.wait(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {PATIENCE_S} s:\n{self.output.text}")
        with self.output.changed:
            self.output.changed.wait_for(lambda: self.output.ended, timeout=PATIENCE_S)
        return self.output.text


@contextmanager
def running(
    *arguments: str, settings: Mapping[str, str], folder: Path, celery: Sequence[str] = ("-m", "celery")
) -> Iterator[Program]:
    """Run `celery -A worker ARGUMENTS` in `folder` for the length of the block; then SIGTERM and wait.

    `celery` is what Python is told to run: a test may change something in the process before.
    """
    words = [sys.executable, *celery, "-A", "worker", *arguments]
    with running_program(words, settings=settings, folder=folder) as program:
        yield program


@contextmanager
def running_program(words: Sequence[str], *, settings: Mapping[str, str], folder: Path) -> Iterator[Program]:
    """Run any program in `folder` for the length of the block; then SIGTERM and wait."""
    far_end, near_end = os.pipe()
    try:
        child = spawn(words, environment={**os.environ, **settings}, folder=folder, output=near_end)
    finally:
        os.close(near_end)
    output = Output()
    reader = threading.Thread(target=output.read, args=(far_end,))
    reader.start()
    try:
        yield Program(child=child, output=output)
    finally:
        child.stop(grace=STOP_GRACE_S)
        reader.join()
