"""Processes that empty one outbox together, from the same moment on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.programs import ROOT

Drain = subprocess.Popen[str]


@contextmanager
def drains(*options: str, database: str, workers: int, folder: Path) -> Iterator[list[Drain]]:
    """Start so many processes, and give them once each is ready and waits for the word to begin."""
    children: list[Drain] = []
    try:
        for number in range(workers):
            log = folder / f"deliver-{number}.log"
            command = [sys.executable, "-m", "benchmarks.deliver", f"--database={database}", f"--log={log}"]
            children.append(
                subprocess.Popen(
                    [*command, "--start-at-a-word", *options],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=ROOT,
                )
            )
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n", "a process ended before it could begin"
        yield children
    finally:
        for child in children:
            child.kill()
            child.communicate()


def begin(children: Sequence[Drain]) -> list[dict[str, float]]:
    """Give all of them the word; return what each printed when it had nothing left to do."""
    for child in children:
        assert child.stdin is not None
        child.stdin.write("begin\n")
        child.stdin.flush()
    return [dict(json.loads(child.communicate()[0].splitlines()[-1])) for child in children]
