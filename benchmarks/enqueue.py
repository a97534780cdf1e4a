"""How fast a file is enqueued, and what room a message of a sender takes in the broker until it is read."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import redis
from celery import Celery
from sqlalchemy import text

from benchmarks.programs import ROOT
from benchmarks.sizes import Sizes
from benchmarks.stage import stage
from worker.db.session import make_engine

ENQUEUE = [sys.executable, "-m", "worker", "enqueue", "--file"]
MESSAGES = 1_000
HOOK = "https://example.com/hook"


def run(sizes: Sizes) -> dict[str, float]:
    """Return how many lines a second `enqueue --file` takes, its start included."""
    lines = [
        json.dumps({"task_id": f"t{number}", "action": "MUSIC", "notify_hook": HOOK})
        for number in range(sizes.lines)
    ]
    rates, costs = [], []
    with stage() as set_up, TemporaryDirectory(prefix="suno-worker-lines-") as name:
        file = Path(name) / "tasks.jsonl"
        file.write_text("\n".join(lines))
        for _ in range(sizes.rounds):
            with set_up.database() as database:
                wall, cpu = enqueued(file, settings=set_up.settings(database=database))
                assert watched(database) == sizes.lines
            rates.append(sizes.lines / wall)
            costs.append(cpu / sizes.lines * 1e6)
        message_bytes = room_of_a_message(set_up.valkey.url)
    return {
        "rounds": len(rates),
        "enqueue_file_per_s": statistics.median(rates),
        "enqueue_file_cpu_us": statistics.median(costs),
        "enqueue_message_broker_bytes": message_bytes,
    }


def enqueued(file: Path, *, settings: dict[str, str]) -> tuple[float, float]:
    """Enqueue a file with the command; return its wall and CPU seconds."""
    begun, spent = time.monotonic(), os.times()
    subprocess.run(
        [*ENQUEUE, file], check=True, env={**os.environ, **settings}, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    wall, ended = time.monotonic() - begun, os.times()
    user = ended.children_user - spent.children_user
    return wall, user + ended.children_system - spent.children_system


def watched(database: str) -> int:
    """Return how many tasks are under watch."""
    engine = make_engine(database)
    with engine.connect() as connection:
        count = int(connection.scalar(text("SELECT count(*) FROM suno_tasks WHERE finished_at IS NULL")) or 0)
    engine.dispose()
    return count


def room_of_a_message(broker: str) -> float:
    """Return the bytes that one `suno.enqueue` message of a sender takes while nobody reads it."""
    with Celery(broker=broker) as sender, redis.Redis.from_url(broker) as client:
        before = int(client.info("memory")["used_memory_dataset"])
        for number in range(MESSAGES):
            arguments = {"task_id": f"00000000-{number}", "action": "MUSIC", "notify_hook": HOOK}
            sender.send_task("suno.enqueue", kwargs=arguments, queue="enqueue")
        assert client.llen("enqueue") == MESSAGES
        return (int(client.info("memory")["used_memory_dataset"]) - before) / MESSAGES
