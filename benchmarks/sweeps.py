"""What an unchanged Suno task costs, sweep after sweep, beside a design that claims each task.

Run `python -m benchmarks.sweeps [--pending 10000,100000,1000000]`. N tasks are pending and N are finished.
PostgreSQL and each measured sweep are processes of their own; both designs take turns in each round on the
same database, with a client that answers from memory. A claim's time is the CPU of worker and database
together, the tenth percentile. Times are this machine's; counters and ratios are not. PostgreSQL runs with
the options of the tests (no fsync, no full-page writes), so WAL bytes are those of records alone.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text

from benchmarks.fill import fill
from tests.servers import PostgresServer, serve_postgres
from worker.db.migrate import upgrade
from worker.db.session import make_engine

FEWEST_POLLS = 100_000  # one measurement; fewer would be lost in the noise
DESIGNS = {"batches": "poll batches", "rows": "a claim per task"}
TABLES = {"batches": ("poll_batches", "suno_tasks"), "rows": ("plain_tasks",)}
PATIENCE_S = 60.0  # for the plain design with a transaction open: it needs many minutes for 50 sweeps

COUNTERS = "SELECT n_tup_upd, seq_scan FROM pg_stat_user_tables WHERE relname = :name"
SIZE = "SELECT pg_total_relation_size(:table) / 1048576.0"


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


def costs(server: PostgresServer, *, sizes: list[int], rounds: int) -> None:
    """Print what one unchanged task costs at each size, and the claim's time beside that at the smallest."""
    heads = ["pending", "design", "claim of 400 tasks, CPU ms", "× smallest", "worker CPU µs"]
    heads += ["database CPU µs", "WAL bytes", "rows of tasks updated", "scans of all tasks"]
    print_heads(*heads)
    smallest: dict[str, float] = {}
    for pending in sizes:
        with filled(server, pending=pending) as (database, engine):
            found: dict[str, list[dict[str, float]]] = {what: [] for what in DESIGNS}
            updated, scans = dict.fromkeys(DESIGNS, 0), dict.fromkeys(DESIGNS, 0)
            for _ in range(rounds if pending < 1_000_000 else 1):
                for what, results in found.items():
                    before = counters(engine, what=what)
                    results.append(run(what, database=database, polls=max(pending, FEWEST_POLLS)))
                    after = counters(engine, what=what)
                    updated[what] += after[0] - before[0]
                    scans[what] += after[1] - before[1]
            for what, results in found.items():
                claim = statistics.median(one["claim_ms"] for one in results)
                ratio = claim / smallest.setdefault(what, claim)
                print_row(
                    f"{pending:,}",
                    DESIGNS[what],
                    f"{claim:.2f}",
                    f"{ratio:.2f}",
                    f"{each(results, 'cpu_s'):.1f}",
                    f"{each(results, 'database_s'):.1f}",
                    f"{each(results, 'wal', 1):.1f}",
                    f"{updated[what]:,}",
                    scans[what],
                )
            assert updated["batches"] == 0, "an unchanged task was written"


def each(results: list[dict[str, float]], key: str, factor: float = 1e6) -> float:
    """Return the median of a cost per task."""
    return statistics.median(one[key] / one["polled"] * factor for one in results)


def counters(engine: Engine, *, what: str) -> tuple[int, int]:
    """Return the rows updated in the table of tasks and its sequential scans so far, as PostgreSQL counts."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))  # of the fill, by this connection
        connection.commit()
        updated, scans = connection.execute(text(COUNTERS), {"name": TABLES[what][-1]}).one()
    return int(updated), int(scans)


def bloat(server: PostgresServer, *, pending: int, sweeps: int) -> None:
    """Print the sizes of tables and indexes before, amid and after the sweeps, also with a transaction open.

    All tables of a design count together; the first one is also shown alone.
    """
    heads = [
        f"{pending:,} pending, {sweeps} sweeps",
        "tables",
        "MiB before",
        "after half",
        "after all",
        "growth",
    ]
    print_heads(*heads, "claim CPU ms, first and last")
    vacuum_often(server)
    for held in (False, True):
        for what, design in DESIGNS.items():
            with filled(server, pending=pending) as (database, engine), engine.connect() as holder:
                if held:
                    holder.execute(text("SELECT pg_current_xact_id()"))  # holds every row version from now on
                measured = sweep_on(engine, what=what, database=database, pending=pending, sweeps=sweeps)
                holder.rollback()
            name = f"{design}, {'a transaction open' if held else 'nothing else open'}"
            if measured.done < sweeps:
                name += f" (**{measured.done} sweeps** in {PATIENCE_S:.0f} s)"
            for tables in dict.fromkeys([TABLES[what][:1], TABLES[what]]):
                before, half, after = (sum(one[table] for table in tables) for one in measured.sizes)
                print_row(
                    name,
                    " + ".join(f"`{table}`" for table in tables),
                    *(f"{one:.2f}" for one in (before, half, after)),
                    f"{after / before:.2f}×",
                    f"{measured.claims[0]:.2f}, {measured.claims[-1]:.2f}",
                )


def vacuum_often(server: PostgresServer) -> None:
    """Let autovacuum look every 3 s instead of 60: sweeps follow each other at once, not every 10 s."""
    engine = make_engine(server.url())
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ALTER SYSTEM SET autovacuum_naptime = '3s'"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What many sweeps did: MiB of each table with its indexes before, amid and after them."""

    done: int
    sizes: tuple[Mapping[str, float], Mapping[str, float], Mapping[str, float]]
    claims: Sequence[float]


def sweep_on(engine: Engine, *, what: str, database: str, pending: int, sweeps: int) -> Growth:
    """Sweep that often, in ten parts, until the patience is over."""
    end = time.monotonic() + PATIENCE_S
    part = max(sweeps // 10, 1)
    claims: list[float] = []
    sizes = [sizes_of(engine, what=what)]
    while len(claims) * part < sweeps and (not claims or time.monotonic() < end):
        claims.append(run(what, database=database, polls=part * pending)["claim_ms"])
        sizes.append(sizes_of(engine, what=what))
    return Growth(done=len(claims) * part, sizes=(sizes[0], sizes[len(sizes) // 2], sizes[-1]), claims=claims)


def sizes_of(engine: Engine, *, what: str) -> dict[str, float]:
    """Return the MiB of each table of a design, indexes included."""
    with engine.connect() as connection:
        return {table: float(connection.scalar(text(SIZE), {"table": table}) or 0) for table in TABLES[what]}


def print_heads(*heads: str) -> None:
    """Begin a table."""
    print()
    print_row(*heads)
    print_row(*["---"] * len(heads))


def print_row(*cells: object) -> None:
    """Print one line of a table as soon as it is known."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def on_sqlite(*, sizes: list[int], rounds: int) -> None:
    """Print the same for SQLite: CPU includes the database, and `total_changes()` counts its written rows."""
    heads = ["SQLite, pending", "design", "claim of 400 tasks, CPU ms", "× smallest", "CPU µs"]
    print_heads(*heads, "rows changed per 100 tasks")
    smallest: dict[str, float] = {}
    for pending in sizes:
        with tempfile.TemporaryDirectory(prefix="suno-worker-sweeps-") as folder:
            database = f"sqlite:///{Path(folder) / 'bench.db'}"
            engine = make_engine(database)
            upgrade(engine)
            fill(engine, pending=pending)
            engine.dispose()
            found: dict[str, list[dict[str, float]]] = {what: [] for what in DESIGNS}
            for _ in range(rounds if pending < 1_000_000 else 1):
                for what, results in found.items():
                    results.append(run(what, database=database, polls=max(pending, FEWEST_POLLS)))
        for what, results in found.items():
            claim = statistics.median(one["claim_ms"] for one in results)
            ratio = claim / smallest.setdefault(what, claim)
            print_row(
                f"{pending:,}",
                DESIGNS[what],
                f"{claim:.2f}",
                f"{ratio:.2f}",
                f"{each(results, 'cpu_s'):.1f}",
                f"{each(results, 'changes', 100):.2f}",
            )
        # Claim and record of 100 tasks are two writes of their one batch row; a third would be a task's.
        assert all(one["changes"] <= 2 * one["polled"] / 100 for one in found["batches"])


def main() -> None:
    """Run all and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pending", default="10000,100000,1000000", help="sizes, each a multiple of 100")
    parser.add_argument("--rounds", type=int, default=3, help="below a million; there it is one")
    parser.add_argument("--bloat-pending", type=int, default=10_000)
    parser.add_argument("--sweeps", type=int, default=50)
    parser.add_argument("--only", choices=["costs", "bloat", "sqlite"])
    chosen = parser.parse_args()
    sizes = [int(one) for one in chosen.pending.split(",")]
    if any(one <= 0 or one % 100 for one in [*sizes, chosen.bloat_pending]):
        parser.error("--pending: each size must be a multiple of 100, like 10000,100000")
    print(f"{platform.machine()}, Python {platform.python_version()}, {chosen.rounds} rounds")
    if chosen.only != "sqlite":
        with serve_postgres() as server:
            if chosen.only != "bloat":
                costs(server, sizes=sizes, rounds=chosen.rounds)
            if chosen.only != "costs":
                bloat(server, pending=chosen.bloat_pending, sweeps=chosen.sweeps)
    if chosen.only in (None, "sqlite"):
        on_sqlite(sizes=sizes, rounds=chosen.rounds)


if __name__ == "__main__":
    main()
