"""Whether a `suno-worker up` is running: for as long as it is, it holds the kernel's lock on a file."""

from __future__ import annotations

import os
from pathlib import Path


def is_held(lock: Path) -> bool:
    """Say whether a process holds the lock of the file `lock`; makes no file, and waits for nothing.

    The lock is tried for as something that many may share, and given back at once. An `up` that begins in
    that moment tries again. OSError passes when the file exists and cannot be read.
    """
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    import fcntl  # noqa: PLC0415 - Windows has none, and no `up` that could have made the file

    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
