"""The harness's side of `rigged`: starts processes from any thread and knows when each has ended."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import IO

import msgspec

from tests.chaos.programs import PATIENCE_S, ROOT, environment
from tests.chaos.rigged import Born, Ended, Order
from worker.embedded.children import spawn


@dataclass(slots=True, kw_only=True)
class Rigged:
    """A process that was started by an order."""

    pid: int = 0
    status: int | None = None
    born: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def kill(self) -> None:
        """SIGKILL; returns at once."""
        self._send(signal.SIGKILL)

    def stop(self) -> int | None:
        """SIGTERM, and wait until it has ended."""
        self._send(signal.SIGTERM)
        return self.wait(seconds=PATIENCE_S)

    def wait(self, *, seconds: float) -> int | None:
        """Return the exit status once the process has ended; None when it still runs after so long."""
        self.ended.wait(seconds)
        return self.status

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            if not self.ended.is_set():
                os.kill(self.pid, number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nursery:
    """Where rigged processes come from."""

    orders: IO[bytes]
    children: dict[int, Rigged] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(
        self,
        *arguments: str,
        settings: Mapping[str, str],
        folder: Path,
        trap: Path | None = None,
    ) -> Rigged:
        """Run `celery -A worker ARGUMENTS`; with a `trap`, that file may kill it at a step."""
        child = Rigged()
        with self.lock:
            number = next(self.numbers)
            self.children[number] = child
            order = Order(
                number=number,
                arguments=list(arguments),
                environment=environment(settings),
                folder=str(folder),
                log=str(folder / f"{arguments[0]}.log"),
                trap=None if trap is None else str(trap),
            )
            self.orders.write(msgspec.json.encode(order) + b"\n")
            self.orders.flush()
        if not child.born.wait(PATIENCE_S):
            raise RuntimeError("the nursery does not answer")
        return child

    def listen(self, answers: IO[bytes]) -> None:
        """Take in what the nursery says until it ends."""
        for line in answers:
            if not line.startswith(b"{"):  # a traceback
                sys.stderr.buffer.write(line)
                continue
            word: Born | Ended = msgspec.json.decode(line, type=Born | Ended)
            child = self.children[word.number]
            match word:
                case Born(pid=pid):
                    child.pid = pid
                    child.born.set()
                case Ended(status=status):
                    child.status = status
                    child.ended.set()


@contextmanager
def open_nursery() -> Iterator[Nursery]:
    """Run it for the length of the block, from the main thread; at the end all its processes are killed."""
    far_stdin, stdin = os.pipe()
    stdout, far_stdout = os.pipe()
    try:
        child = spawn(
            [sys.executable, "-m", "tests.chaos.rigged"],
            environment=environment({}),
            folder=ROOT,
            stdin=far_stdin,
            output=far_stdout,
        )
    finally:
        os.close(far_stdin)
        os.close(far_stdout)
    with os.fdopen(stdin, "wb") as orders, os.fdopen(stdout, "rb") as answers:
        nursery = Nursery(orders=orders)
        listener = threading.Thread(target=nursery.listen, args=(answers,), daemon=True)
        listener.start()
        try:
            yield nursery
        finally:
            child.stop(grace=0)
            listener.join(PATIENCE_S)
