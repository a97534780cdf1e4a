"""What an unchanged Suno task costs, sweep after sweep, beside a design that claims each task.

Run `python -m benchmarks.sweeps [--pending 10000,100000,1000000]`. N tasks are pending and N are finished.
PostgreSQL and each measured sweep are processes of their own; both designs take turns in each round on the
same database, with a client that answers from memory. A claim's time is the CPU of worker and database
together, the tenth percentile. Times are this machine's; counters and ratios are not. PostgreSQL runs with
the options of the tests (no fsync, no full-page writes), so WAL bytes are those of records alone.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
from pathlib import Path

from sqlalchemy import Engine, text

from benchmarks.designs import DESIGNS, TABLES, filled, print_heads, print_row, run
from benchmarks.fill import fill
from benchmarks.growth import growth
from tests.servers import PostgresServer, serve_postgres
from worker.db.migrate import upgrade
from worker.db.session import make_engine

FEWEST_POLLS = 100_000  # one measurement; fewer would be lost in the noise
COUNTERS = "SELECT n_tup_upd, seq_scan FROM pg_stat_user_tables WHERE relname = :name"


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
    parser.add_argument("--growth-pending", type=int, default=10_000)
    parser.add_argument("--sweeps", type=int, default=50)
    parser.add_argument("--only", choices=["costs", "growth", "sqlite"])
    chosen = parser.parse_args()
    sizes = [int(one) for one in chosen.pending.split(",")]
    if any(one <= 0 or one % 100 for one in [*sizes, chosen.growth_pending]):
        parser.error("--pending: each size must be a multiple of 100, like 10000,100000")
    print(f"{platform.machine()}, Python {platform.python_version()}, {chosen.rounds} rounds")
    if chosen.only != "sqlite":
        with serve_postgres() as server:
            if chosen.only != "growth":
                costs(server, sizes=sizes, rounds=chosen.rounds)
            if chosen.only != "costs":
                growth(server, pending=chosen.growth_pending, sweeps=chosen.sweeps)
    if chosen.only in (None, "sqlite"):
        on_sqlite(sizes=sizes, rounds=chosen.rounds)


if __name__ == "__main__":
    main()
