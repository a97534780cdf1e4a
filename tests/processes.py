"""What tests ask about the processes of this machine, and how they wait for one to end."""

from __future__ import annotations

import os
import select
from pathlib import Path

DEADLINE_S = 30.0
STATE, PARENT, SESSION = 0, 1, 3  # of /proc/PID/stat, after the name


def running(*, session: int) -> list[int]:
    """Return the processes of a session that have not ended; a `Child` leads a session of its own."""
    return [
        pid for pid, fields in processes().items() if int(fields[SESSION]) == session and fields[STATE] != "Z"
    ]


def children(parent: int) -> list[int]:
    """Return the child processes of a process."""
    return [pid for pid, fields in processes().items() if int(fields[PARENT]) == parent]


def command_line(pid: int) -> str:
    """Return what everybody on this machine can read of a process's arguments; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def wait_until_gone(*, session: int) -> None:
    """Return when every process of the session has ended; fail after the deadline."""
    for pid in running(session=session):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended, _, _ = select.select([descriptor], [], [], DEADLINE_S)
        os.close(descriptor)
        if not ended:
            raise AssertionError(f"process {pid} ({command_line(pid)}) still runs after {DEADLINE_S} s")


def processes() -> dict[int, list[str]]:
    """Return the fields of /proc/PID/stat that follow the name, by process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found
