"""The lock and the private files that `suno-worker up` keeps in `.suno-worker/`, beside the database.

The lock is the kernel's (`flock`), held by an open file: it is free the moment its holder ends, however it
ends, and the file that stays behind means nothing.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = "lock"
POLL_S = 0.05


class Held(Exception):
    """Another process holds the lock; `holder` is what it wrote into the file, its process id."""

    def __init__(self, *, file: Path, holder: str) -> None:
        super().__init__(f"{file} is held by process {holder or 'unknown'}")
        self.holder = holder


@contextmanager
def hold(file: Path, *, patience: float = 0) -> Iterator[int]:
    """Hold the lock of `file` for the block and give its descriptor; raise `Held` after `patience` seconds.

    A child that inherits the descriptor holds the lock too, until it ends.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + patience
    try:
        while not take(descriptor):
            if time.monotonic() >= deadline:
                raise Held(file=file, holder=os.pread(descriptor, 20, 0).decode(errors="replace").strip())
            time.sleep(POLL_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def take(descriptor: int) -> bool:
    """Take the lock if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read (0600), whole or not at all."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as out:
        os.fchmod(descriptor, 0o600)  # A draft left behind by an earlier process keeps its old mode.
        out.write(text)
    draft.replace(file)
