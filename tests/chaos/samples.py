"""What an installation holds at a moment: memory and descriptors of its processes, connections, tables.

A sample has a figure for each name; a *kind* is the first word of a name and says how much it may grow.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import redis
from sqlalchemy import func, select, text

from tests.chaos.drift import Allowed
from tests.chaos.programs import Program
from tests.chaos.site import Site
from worker.db.models import Base
from worker.db.session import reading

MIB = 1024 * 1024

# What a worker that does not live long is called by PostgreSQL: it opens 1 to 20 connections, as it comes.
PASSING = "passing"

# Half a run is 15 minutes of about 9,000 tasks in the long form: what 300 bytes a task would leak is seen.
ALLOWED: Mapping[str, Allowed] = {
    "MiB": Allowed(part=0.03, least=3),  # resident memory of a process
    "fds": Allowed(part=0, least=5),
    "connections": Allowed(part=0, least=5),  # to the database, of all but `PASSING`
    "rows": Allowed(part=0.25, least=100),
    "size": Allowed(part=0.25, least=2),  # of the database, in MiB
    "broker": Allowed(part=0.25, least=50),  # messages that wait or are unacknowledged, and keys
}

Sample = Mapping[str, float]


def take_sample(site: Site, *, watched: Mapping[str, Program]) -> Sample:
    """Look at all of it; `watched` are the processes that live as long as the run, by name."""
    figures: dict[str, float] = {}
    for name, program in watched.items():
        figures[f"MiB {name}"] = resident(program.pid)
        figures[f"fds {name}"] = len(list(open_files(program.pid)))
    figures |= _database(site, watched=watched)
    with redis.Redis.from_url(site.broker_url) as client:
        queues = [client.llen(key) for key in client.scan_iter(_type="list")]
        figures["broker messages"] = sum(queues) + client.hlen("unacked")
        figures["broker keys"] = client.dbsize()
    return figures


def resident(pid: int) -> float:
    """Return the resident memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(kib) / 1024


def open_files(pid: int) -> Iterator[str]:
    """Name what stands behind each descriptor of a process; one that was closed meanwhile is passed over."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            yield str(descriptor.readlink())
        except FileNotFoundError:
            continue


def _database(site: Site, *, watched: Mapping[str, Program]) -> dict[str, float]:
    figures: dict[str, float] = {}
    with reading(site.sessions) as session:
        for table in Base.metadata.sorted_tables:
            figures[f"rows {table.name}"] = session.scalar(select(func.count()).select_from(table)) or 0
        if site.world.postgres is not None:
            figures["connections"] = session.execute(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name <> :passing"
                ),
                {"passing": PASSING},
            ).scalar_one()
            size = session.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
            return {**figures, "size database": size / MIB}
    file = site.database_url.removeprefix("sqlite:///")
    figures["connections"] = sum(
        name == file for program in watched.values() for name in open_files(program.pid)
    )
    written = sum(part.stat().st_size for part in Path(file).parent.glob(f"{Path(file).name}*"))
    return {**figures, "size database": written / MIB}
