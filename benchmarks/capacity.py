"""What large installations need, computed from the measured figures: docs/capacity.md says nothing else.

The model is linear: CPU for a poll and for a finished task, times how many there are in a second. What it
leaves out stands among its assumptions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta

from benchmarks.capacity_text import TEXT
from benchmarks.figures import said
from benchmarks.report import table
from benchmarks.results import Results
from worker.core.schedule import poll_interval

LIFE = timedelta(minutes=4)
INTERVAL = timedelta(seconds=10)
BUSY = 0.6  # share of a core that a process or the database may use in the long run
LATENCY_S = 1.0  # of a gateway's answer to 100 ids
BATCH = 100
PENDING = (1_000_000, 10_000_000)
COMPLETIONS = (1_000, 10_000)
DAY_S = 86_400
RETENTION_DAYS = 30
NEEDED = (
    "sweep_worker_us_per_task_1e6",
    "sweep_database_us_per_task_1e6",
    "sweep_wal_bytes_per_task_1e6",
    "end_to_end_ours_worker_ms",
    "end_to_end_ours_database_ms",
    "end_to_end_ours_broker_ms",
    "end_to_end_ours_wal_bytes",
    "end_to_end_ours_table_bytes",
)


def polls_per_task_s() -> float:
    """Return how often a pending task is polled in a second, on average over its life."""
    polls, age = 0, timedelta(0)
    while age < LIFE:
        age += poll_interval(age=age, interval=INTERVAL)
        polls += 1
    return polls / LIFE.total_seconds()


def processes(cores: float) -> int:
    """Return how many processes of one core each, kept below full use."""
    return max(1, math.ceil(cores / BUSY))


def pending_rows(flat: dict[str, float]) -> list[list[str]]:
    """Return what polling costs at each number of pending tasks."""
    rows = []
    for pending in PENDING:
        polls = pending * polls_per_task_s()
        worker = polls * flat["sweep_worker_us_per_task_1e6"] / 1e6
        database = polls * flat["sweep_database_us_per_task_1e6"] / 1e6
        wal = polls * flat["sweep_wal_bytes_per_task_1e6"] / 1e6
        requests = polls / BATCH
        rows.append(
            [
                f"{pending:,}",
                f"{polls:,.0f}",
                f"{requests:,.0f}",
                f"{requests * LATENCY_S:,.0f}",
                f"{said(worker, unit='')} → {processes(worker)}",
                said(database, unit=""),
                said(wal, unit="MB"),
            ]
        )
    return rows


def completion_rows(flat: dict[str, float]) -> list[list[str]]:
    """Return what finishing and delivering costs at each rate."""
    rows = []
    for rate in COMPLETIONS:
        worker = rate * flat["end_to_end_ours_worker_ms"] / 1e3
        database = rate * flat["end_to_end_ours_database_ms"] / 1e3
        wal = rate * flat["end_to_end_ours_wal_bytes"] / 1e6
        disk = rate * DAY_S * flat["end_to_end_ours_table_bytes"] / 1e9
        rows.append(
            [
                f"{rate:,}",
                f"{rate * LIFE.total_seconds():,.0f}",
                f"{said(worker, unit='')} → {processes(worker)}",
                said(database, unit=""),
                said(rate * flat["end_to_end_ours_broker_ms"] / 1e3, unit=""),
                said(wal, unit="MB"),
                said(disk, unit="GB"),
                said(disk * RETENTION_DAYS / 1_000, unit="TB"),
            ]
        )
    return rows


def document(results: Results) -> str:
    """Return the whole of docs/capacity.md."""
    missing = [key for key in NEEDED if not isinstance(results.get(key), (int, float))]
    if missing:
        return f"# Capacity\n\nNot computed: `make bench` has yet to measure {', '.join(missing)}.\n"
    flat = {key: float(results[key]) for key in NEEDED}
    rate = COMPLETIONS[-1]
    polling: Sequence[str] = (
        "pending", "polls/s", "gateway requests/s", "of them at once", "worker cores → processes",
        "database cores", "WAL/s",
    )  # fmt: skip
    finishing: Sequence[str] = (
        "completions/s", "pending meanwhile", "worker cores → processes", "database cores", "broker cores",
        "WAL/s", "tables/day", f"tables in {RETENTION_DAYS} days",
    )  # fmt: skip
    return TEXT.format(
        machine=results.get("machine", "an unknown machine"),
        life=LIFE.total_seconds() / 60,
        interval=INTERVAL.total_seconds(),
        polls=polls_per_task_s() * LIFE.total_seconds(),
        busy=f"{BUSY * 100:.0f} %",
        latency=LATENCY_S,
        polling=table(polling, pending_rows(flat)),
        finishing=table(finishing, completion_rows(flat)),
        days=RETENTION_DAYS,
        rate=rate,
        rows=f"{rate * DAY_S * RETENTION_DAYS / 1e9:.0f}",
    )
