"""What `up` costs with nothing to do, what memory it and a busy worker hold, how fast a file is enqueued."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Connection, text

from benchmarks.accounting import cpu_seconds, family, memory_mib
from benchmarks.deliveries import fill as fill_outbox
from benchmarks.fill import fill as fill_pending
from benchmarks.sizes import Sizes
from benchmarks.stage import ROOT, peer, running, stage
from tests.processes import command_line
from worker.db.session import make_engine

SUNO_WORKER = [sys.executable, "-m", "worker"]
SETTLE_S = 10.0
PARTS = {"worker": "worker()", "beat": "beat()", "broker": "valkey-server", "up": " up"}
IN_FLIGHT = 1_000
HANGING = 64
CALM_S = 5.0
START_S = 60.0
HELD = "SELECT count(*) FROM deliveries WHERE leased_until IS NOT NULL"


def idle(sizes: Sizes) -> dict[str, float]:
    """Run `up` with the embedded broker and SQLite, and look at all its processes for a while."""
    with TemporaryDirectory(prefix="suno-worker-idle-") as name:
        settings = {
            "WORKER_DATABASE_URL": f"sqlite:///{name}/worker.db",
            "WORKER_GATEWAYS__HUB__BASE_URL": "http://127.0.0.1:9",
            "WORKER_GATEWAYS__HUB__API_KEY": "sk-benchmarks",
        }
        with running([*SUNO_WORKER, "up"], settings=settings, log=Path(name) / "up.log") as up:
            pid = up.process.pid
            threading.Event().wait(SETTLE_S)
            spent, begun = cpu_seconds(pid), time.monotonic()
            threading.Event().wait(sizes.idle_s)
            share = (cpu_seconds(pid) - spent) / (time.monotonic() - begun)
            memory = {part: memory_of(pid, words) for part, words in PARTS.items()}
            total = memory_mib(pid)
    return {
        "idle_core_share": share,
        "idle_memory_mib": total,
        **{f"idle_memory_{part}_mib": one for part, one in memory.items()},
    }


def memory_of(root: int, words: str) -> float:
    """Return the memory of those of a family whose command line ends in these words, children apart."""
    found = [one for one in family(root) if words in command_line(one).rstrip() + " "]
    return max((memory_mib(one, alone=True) for one in found), default=0.0)


def busy(sizes: Sizes) -> dict[str, float]:
    """Return a worker's memory with every slot taken by a receiver that hangs, and the most tasks pending."""
    with (
        stage() as set_up,
        peer("gateway", "--latency=0.05") as (gateway,),
        peer("receiver", f"--hosts={HANGING}", f"--hanging={HANGING}") as ports,
        set_up.database() as database,
    ):
        engine = make_engine(database)
        fill_pending(engine, pending=sizes.pending[-1], plain=False)
        fill_outbox(database, ports=ports, count=4 * IN_FLIGHT, known=True, due=True, beside=True)
        settings = set_up.settings(database=database, gateway=gateway) | {"WORKER_WEBHOOK_TIMEOUT": "60"}
        with set_up.worker_and_beat(settings, as_up_does=True) as roots:
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                held = most_held(connection)
            memory = memory_mib(roots["worker"])
        engine.dispose()
    return {"busy_worker_in_flight": held, "busy_worker_memory_mib": memory}


def most_held(connection: Connection) -> float:
    """Return how many deliveries are in flight once there are 1,000, or no more have come for 5 s."""
    most, since = 0, time.monotonic()
    while most < IN_FLIGHT and time.monotonic() - since < (CALM_S if most else START_S):
        held = int(connection.scalar(text(HELD)) or 0)
        if held > most:
            most, since = held, time.monotonic()
        threading.Event().wait(0.2)
    return most


def enqueue_file(sizes: Sizes) -> dict[str, float]:
    """Return how many lines a second `enqueue --file` takes, its start included."""
    lines = [
        json.dumps({"task_id": f"t{number}", "action": "MUSIC", "notify_hook": "https://example.com/hook"})
        for number in range(sizes.lines)
    ]
    rates, costs = [], []
    with stage() as set_up, TemporaryDirectory(prefix="suno-worker-lines-") as name:
        file = Path(name) / "tasks.jsonl"
        file.write_text("\n".join(lines))
        for _ in range(sizes.rounds):
            with set_up.database() as database:
                settings = set_up.settings(database=database)
                begun, spent = time.monotonic(), os.times()
                subprocess.run(
                    [*SUNO_WORKER, "enqueue", "--file", file],
                    check=True,
                    env={**os.environ, **settings},
                    stdout=subprocess.DEVNULL,
                    cwd=ROOT,
                )
                rates.append(sizes.lines / (time.monotonic() - begun))
                ended = os.times()
                user = ended.children_user - spent.children_user
                system = ended.children_system - spent.children_system
                costs.append((user + system) / sizes.lines * 1e6)
    return {
        "enqueue_file_per_s": statistics.median(rates),
        "enqueue_file_cpu_us": statistics.median(costs),
    }
