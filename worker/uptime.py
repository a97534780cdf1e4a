"""A clock that nobody sets: the seconds since this machine was started, those in which it slept included.

The wall clock may be set forward or back at any moment, by hand or by a time server. What only has to last
(Beat's second, the waits that stand in a SQLite file) is measured with this one.

Limits: it is Linux' `CLOCK_BOOTTIME`. Elsewhere the monotonic clock takes its place, which on some systems
stands still while the machine sleeps, and no boot has a name.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def uptime() -> float:
    """Return the seconds since the start of this machine; no setting of its wall clock changes them."""
    return time.clock_gettime(CLOCK)


def booted_at() -> float:
    """Return when this machine was started, in unix seconds by its wall clock as that is set now."""
    return time.time() - uptime()


def boot_name() -> str | None:
    """Return what tells this start of this machine from every other; None where it has no such name."""
    with suppress(OSError):
        return BOOT_ID.read_text().strip()
    return None
