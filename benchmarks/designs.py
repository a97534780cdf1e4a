"""The two designs that are compared, the databases that they sweep, and the tables that are printed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from benchmarks.fill import fill
from tests.servers import PostgresServer
from worker.db.migrate import upgrade
from worker.db.session import make_engine

DESIGNS = {"batches": "poll batches", "rows": "a claim per task"}
TABLES = {"batches": ("poll_batches", "suno_tasks"), "rows": ("plain_tasks",)}


def run(what: str, *, database: str, polls: int) -> dict[str, float]:
    """Run one measured process and return what it printed."""
    command = [sys.executable, "-m", "benchmarks.sweep", what, f"--database={database}", f"--polls={polls}"]
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


@contextmanager
def filled(server: PostgresServer, *, pending: int) -> Iterator[tuple[str, Engine]]:
    """Give a database of that size."""
    server.create_database("bench")
    engine = make_engine(server.url("bench"))
    upgrade(engine)
    fill(engine, pending=pending)
    try:
        yield server.url("bench"), engine
    finally:
        engine.dispose()
        server.drop_database("bench")


def print_heads(*heads: str) -> None:
    """Begin a table."""
    print()
    print_row(*heads)
    print_row(*["---"] * len(heads))


def print_row(*cells: object) -> None:
    """Print one line of a table as soon as it is known."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
