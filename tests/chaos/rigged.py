"""Run `celery -A worker …` with a trap in it: `python -m tests.chaos.rigged`, told by stdin what to start.

Each line is an order; each order is a fork of this process, which has imported everything and opened nothing,
so that a worker is there in a fraction of a second and hundreds of them can be killed in a minute. Every fork
is a process of its own with the command line, the environment and the working folder of its order. The
answers on stdout say its number, and later how it ended. All of them end with this process.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

import celery.__main__
import celery.bin.beat
import celery.bin.worker
import msgspec

import worker.process  # noqa: F401 - what the forks share
from tests.chaos import steps
from worker.beat import GRACE_S  # noqa: F401 - as above
from worker.embedded.tether import die_with_parent

ORDERS = 0  # stdin
CHUNK = 65_536


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One process to start. `trap`: the file that arms its trap; without one it has none."""

    number: int
    arguments: list[str]
    environment: dict[str, str]
    folder: str
    log: str
    trap: str | None = None


class Born(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The process of an order."""

    number: int
    pid: int


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """How it ended: its exit status, or the signal's number below zero."""

    number: int
    status: int


def main() -> None:
    """Fork for each order until stdin is closed; in the fork, become what it says."""
    order = take_orders()
    if order is not None:
        become(order)


def take_orders() -> Order | None:
    """Serve stdin; return an order in its fork, and None in this process when all is over."""
    running: dict[int, int] = {}
    wake, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(alarm)
    unread, ours = b"", os.getpid()
    while True:
        readable, _, _ = select.select([ORDERS, wake], [], [])
        if wake in readable:
            os.read(wake, CHUNK)
            bury(running)
        if ORDERS in readable:
            come = os.read(ORDERS, CHUNK)
            if not come:
                return None
            *lines, unread = (unread + come).split(b"\n")
            for line in lines:
                order = msgspec.json.decode(line, type=Order)
                child = os.fork()
                if child == 0:
                    leave(parent=ours, descriptors=(wake, alarm))
                    return order
                running[child] = order.number
                say(Born(number=order.number, pid=child))


def bury(running: dict[int, int]) -> None:
    """Tell of each process that has ended."""
    for pid in list(running):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            say(Ended(number=running.pop(pid), status=os.waitstatus_to_exitcode(status)))


def say(word: Born | Ended) -> None:
    """Answer on stdout."""
    sys.stdout.buffer.write(msgspec.json.encode(word) + b"\n")
    sys.stdout.buffer.flush()


def leave(*, parent: int, descriptors: tuple[int, ...]) -> None:
    """Forget, in a fork, what belongs to the process that takes the orders; end when that one ends."""
    die_with_parent(parent=parent, last_signal=signal.SIGKILL)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor in descriptors:
        os.close(descriptor)


def become(order: Order) -> None:
    """Run the order's command line as the program of that name would."""
    with Path(os.devnull).open("rb") as null, Path(order.log).open("ab") as log:
        os.dup2(null.fileno(), 0)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ.clear()
    os.environ.update(order.environment)
    os.chdir(order.folder)
    if order.trap is not None:
        steps.lay(steps.Trap(orders=Path(order.trap)))
    sys.argv = ["celery", "-A", "worker", *order.arguments]
    celery.__main__.main()


if __name__ == "__main__":
    main()
