"""What processes have cost so far, by /proc: CPU seconds and memory of a process and all that it started."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.processes import PARENT, processes

TICKS = os.sysconf("SC_CLK_TCK")
USER, CHILDREN_SYSTEM = 11, 14  # of /proc/PID/stat, after the name


def family(root: int) -> list[int]:
    """Return a process and its living descendants."""
    parents = {pid: int(fields[PARENT]) for pid, fields in processes().items()}
    found = [root]
    for one in found:
        found += [pid for pid, parent in parents.items() if parent == one]
    return found


def cpu_seconds(*roots: int) -> float:
    """Return the CPU of these processes and of all that they started, the ended ones included."""
    everything = processes()
    ticks = 0
    for root in roots:
        for pid in family(root):
            if pid in everything:
                ticks += sum(map(int, everything[pid][USER : CHILDREN_SYSTEM + 1]))
    return ticks / TICKS


def memory_mib(root: int, *, peak: bool = False, alone: bool = False) -> float:
    """Return the resident memory of a process and, unless `alone`, its descendants; `peak`: the most."""
    key = "VmHWM:" if peak else "VmRSS:"
    return sum(_status_kib(pid, key) for pid in ([root] if alone else family(root))) / 1024


def _status_kib(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(key)), 0)


class Meter:
    """The CPU of named groups of processes since the meter was made."""

    def __init__(self, **roots: int) -> None:
        """Begin to count."""
        self._roots = roots
        self._begun = {name: cpu_seconds(root) for name, root in roots.items()}

    def read(self) -> dict[str, float]:
        """Return the seconds of each group so far."""
        return {name: cpu_seconds(root) - self._begun[name] for name, root in self._roots.items()}


def percentile(values: Iterable[float], share: float) -> float:
    """Return the value below or at which that share of the values lies."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def medians(rounds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the rounds."""
    return {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Return the median of the rounds' own ratios: what slows a round down slows both halves of it."""
    return statistics.median(one / other for one, other in zip(over, under, strict=True))
