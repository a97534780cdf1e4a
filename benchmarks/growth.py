"""How much tables and indexes grow when the same tasks are swept again and again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, text

from benchmarks.designs import DESIGNS, TABLES, filled, print_heads, print_row, run
from tests.servers import PostgresServer
from worker.db.session import make_engine

PATIENCE_S = 60.0  # for the plain design with a transaction open: it needs many minutes for 50 sweeps

SIZE = "SELECT pg_total_relation_size(:table) / 1048576.0"


def growth(server: PostgresServer, *, pending: int, sweeps: int) -> None:
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
