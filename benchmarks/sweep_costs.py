"""What an unchanged Suno task costs at 10,000, 100,000 and 1,000,000 pending, and when it is asked for alone.

All sizes are filled first and take turns in each round, with the poller over real HTTP. Then one more
database is swept 20 times, and 80 times more, and its tables are measured again.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack

from sqlalchemy import Engine, text

from benchmarks.accounting import median_ratio
from benchmarks.fill import fill
from benchmarks.growth import sizes_of, vacuum_often
from benchmarks.programs import measure, peer
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage, stage
from worker.db.session import make_engine

SWEEPS, MORE_SWEEPS = 20, 100
WORDS = ("1e4", "1e5", "1e6")
UPDATED = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'suno_tasks'"


def filled(programs: ExitStack, set_up: Stage, *, name: str, pending: int) -> Engine:
    """Return a database with so many pending tasks."""
    engine = make_engine(programs.enter_context(set_up.database(name)))
    programs.callback(engine.dispose)
    fill(engine, pending=pending, plain=False)
    return engine


def all_in(found: dict[str, float]) -> float:
    """Return CPU µs for one task, worker and database together."""
    return (found["cpu_s"] + found.get("database_s", 0)) / found["polled"] * 1e6


def run(sizes: Sizes) -> dict[str, float]:
    """Return the costs, their ratios, and how much the tables grew."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in (*WORDS, "get")}
    with stage() as set_up, peer("gateway") as (port,), ExitStack() as programs:
        engines = {
            name: filled(programs, set_up, name=f"pending_{name}", pending=pending)
            for name, pending in zip(WORDS, sizes.pending, strict=True)
        }
        written = {name: updated(engine) for name, engine in engines.items()}
        for _ in range(sizes.rounds):
            for name in engines:
                found[name].append(sweep(set_up, name=f"pending_{name}", port=port, polls=sizes.polls))
            found["get"].append(measure("unchanged", "gets", f"--port={port}", f"--count={sizes.gets}"))
        written = {name: updated(engine) - written[name] for name, engine in engines.items()}
        grown = growth(programs, set_up, port=port, pending=sizes.growth_pending)
    polled = sum(one["polled"] for name in WORDS for one in found[name])
    rounds = {len(each) for each in found.values()}
    assert rounds == {sizes.rounds}, rounds
    return {
        "rounds": sizes.rounds,
        **figures(found),
        **grown,
        "task_row_writes_per_unchanged_poll": sum(written.values()) / polled,
    }


def sweep(set_up: Stage, *, name: str, port: int, polls: int) -> dict[str, float]:
    """Poll that many tasks in a process of its own."""
    url = set_up.postgres.url(name)
    return measure("unchanged", "polls", f"--database={url}", f"--port={port}", f"--count={polls}")


def updated(engine: Engine) -> int:
    """Return how many rows of tasks PostgreSQL says were updated."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_stat_force_next_flush()"))
        connection.commit()
        return int(connection.scalar(text(UPDATED)) or 0)


def growth(programs: ExitStack, set_up: Stage, *, port: int, pending: int) -> dict[str, float]:
    """Sweep 20 and 100 times, and return how much larger tables and indexes are than before.

    Autovacuum looks every 3 s here: the sweeps follow one another at once, so there are about as many of them
    between two looks as with its 60 s and a sweep each 10 s.
    """
    vacuum_often(set_up.postgres)
    engine = filled(programs, set_up, name="growing", pending=pending)
    sweep(set_up, name="growing", port=port, polls=pending)  # the space that updates go on to use again
    before = sizes_of(engine, what="batches")
    polled = sweep(set_up, name="growing", port=port, polls=SWEEPS * pending)["polled"]
    after = sizes_of(engine, what="batches")
    sweep(set_up, name="growing", port=port, polls=MORE_SWEEPS * pending - int(polled))
    at_last = sizes_of(engine, what="batches")
    return {
        "table_growth_20_sweeps": sum(after.values()) / sum(before.values()),
        "batch_table_growth_20_sweeps": after["poll_batches"] / before["poll_batches"],
        "batch_table_growth_100_sweeps": at_last["poll_batches"] / before["poll_batches"],
    }


def figures(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return flat keys."""
    costs = {name: [all_in(one) for one in rounds] for name, rounds in found.items()}
    flat = {f"sweep_us_per_task_{name}": statistics.median(one) for name, one in costs.items()}
    for name in WORDS:
        parts = {"worker_us": ("cpu_s", 1e6), "database_us": ("database_s", 1e6), "wal_bytes": ("wal", 1.0)}
        for word, (key, factor) in parts.items():
            each = [one[key] / one["polled"] * factor for one in found[name]]
            flat[f"sweep_{word}_per_task_{name}"] = statistics.median(each)
    return {
        "sweep_cost_ratio_1e6_over_1e4": median_ratio(costs["1e6"], costs["1e4"]),
        "sweep_cost_ratio_over_single_get": median_ratio(costs["1e6"], costs["get"]),
        **flat,
    }
