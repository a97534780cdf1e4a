"""What `up` costs with nothing to do, and what memory its processes hold."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.accounting import cpu_seconds, family, medians, memory_mib
from benchmarks.programs import running
from benchmarks.sizes import Sizes
from tests.processes import command_line

UP = [sys.executable, "-m", "worker", "up"]
PARTS = {"worker": "worker()", "beat": "beat()", "broker": "valkey-server", "up": " up"}


def idle(sizes: Sizes) -> dict[str, float]:
    """Run `up` with the embedded broker and SQLite, and look at all its processes for a while, often."""
    with TemporaryDirectory(prefix="suno-worker-idle-") as name:
        settings = {
            "WORKER_DATABASE_URL": f"sqlite:///{name}/worker.db",
            "WORKER_GATEWAYS__HUB__BASE_URL": "http://127.0.0.1:9",
            "WORKER_GATEWAYS__HUB__API_KEY": "sk-benchmarks",
        }
        with running(UP, settings=settings, log=Path(name) / "up.log") as up:
            threading.Event().wait(sizes.settle_s)
            found = [looked_at(up.process.pid, seconds=sizes.idle_s) for _ in range(sizes.rounds)]
    return {"rounds": len(found), **medians(found)}


def looked_at(pid: int, *, seconds: float) -> dict[str, float]:
    """Return the share of a core that a family of processes uses for so long, and its memory then."""
    before, begun = family(pid), time.monotonic()
    spent = cpu_seconds(pid)
    threading.Event().wait(seconds)
    share = (cpu_seconds(pid) - spent) / (time.monotonic() - begun)
    assert family(pid) == before, "processes came and went; an idle `up` keeps its own"
    return {
        "idle_core_share": share,
        "idle_memory_mib": memory_mib(pid),
        **{f"idle_memory_{part}_mib": memory_of(pid, words) for part, words in PARTS.items()},
    }


def memory_of(root: int, words: str) -> float:
    """Return the memory of the one process of a family whose command line ends in these words."""
    found = [one for one in family(root) if words in command_line(one).rstrip() + " "]
    assert found, f"no process of `up` is called{words}"
    return max(memory_mib(one, alone=True) for one in found)
