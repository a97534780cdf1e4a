"""The sides of the comparison end to end: each puts tasks under watch and waits for every webhook.

Both watch tasks of the same gateway at the same interval, from the first enqueue to the last webhook. CPU is
that of the worker's processes; Beat's, the database's and the broker's are told apart. What puts the tasks
under watch is a process of its own on both sides, as it is in life, and its CPU is not counted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from threading import Event

from sqlalchemy import text

from benchmarks.accounting import Meter, memory_mib, percentile
from benchmarks.afternoon import watch
from benchmarks.gateway import completion_of, task_id
from benchmarks.programs import running
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage
from benchmarks.wire import ask, came_once
from worker.core.addresses import Allow
from worker.db.session import make_engine, make_sessions
from worker.intake import put_under_watch
from worker.request import Policy, Request

SPREAD_S = 2.0
WAIT_S = 240.0
LINES = 100
POOLS = {"prefork": 8, "threads": 64}
WRITTEN = "SELECT pg_database_size(current_database()), pg_current_wal_lsn() - '0/0'::pg_lsn"
DELIVERED = "SELECT count(*) FROM deliveries WHERE state = 'DELIVERED'"
CELERY = [sys.executable, "-m", "celery"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One round of one side: the stage, the peers' ports, and the tasks."""

    stage: Stage
    sizes: Sizes
    gateway: int
    receiver: int

    @property
    def hook(self) -> str:
        """The receiver's URL."""
        return f"http://127.0.0.1:{self.receiver}/hook"

    def ids(self, count: int) -> list[str]:
        """Return ids of tasks that complete within 2 s, after the lead."""
        first = time.time() + self.sizes.lead_s
        return [task_id(one, completes_at=first + SPREAD_S * one / count) for one in range(count)]

    def watched(
        self, ids: Sequence[str], *, begin: Callable[[Sequence[str]], None], roots: dict[str, int]
    ) -> dict[str, float]:
        """Put the tasks under watch, wait for every webhook, and return what it took for each task."""
        count = len(ids)
        meter = Meter(**roots, **self.stage.roots)
        begin(ids)
        ask(self.receiver, f"/wait/{count}", patience=WAIT_S)
        spent = meter.read()
        came = ask(self.receiver, "/came")
        came_once(self.receiver, count=count)
        late = [float(str(came[one])) - completion_of(one) for one in ids]
        moments = sorted(float(str(one)) for one in came.values())
        return {
            "webhooks": len(came),
            **{f"{name}_ms": seconds / count * 1000 for name, seconds in spent.items()},
            "requests": float(str(ask(self.gateway, "/stats")["requests"])) / count,
            "p50_s": percentile(late, 0.5),
            "p99_s": percentile(late, 0.99),
            "rate": (count - 1) / (moments[-1] - moments[0]),
            "peak_mib": memory_mib(roots["worker"], peak=True),
        }


def ours(play: Play) -> dict[str, float]:
    """One worker process and Beat on PostgreSQL."""
    sizes = play.sizes
    with play.stage.database() as database:
        settings = play.stage.settings(database=database, gateway=play.gateway, interval=sizes.interval_s)
        with play.stage.worker_and_beat(settings) as roots:
            size, wal = written(database)
            found = play.watched(
                play.ids(sizes.tasks),
                begin=lambda ids: enqueue(database, ids=ids, hook=play.hook, delay_s=sizes.interval_s),
                roots=roots,
            )
            size_after, wal_after = written(database)
            check_delivered(database, count=sizes.tasks)
        return found | {
            "table_bytes": (size_after - size) / sizes.tasks,
            "wal_bytes": (wal_after - wal) / sizes.tasks,
        }


def written(database: str) -> tuple[int, int]:
    """Return the bytes of the database and of the server's WAL so far."""
    engine = make_engine(database)
    with engine.connect() as connection:
        size, wal = connection.execute(text(WRITTEN)).one()
    engine.dispose()
    return int(size), int(wal)


def check_delivered(database: str, *, count: int) -> None:
    """End a scenario whose database does not say what the receiver says; the last record may follow it."""
    engine = make_engine(database)
    end = time.monotonic() + WAIT_S
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while (delivered := connection.scalar(text(DELIVERED))) != count:
            assert time.monotonic() < end, f"{delivered} of {count} are recorded as delivered"
            Event().wait(0.1)
    engine.dispose()


def enqueue(database: str, *, ids: Sequence[str], hook: str, delay_s: float) -> None:
    """Put tasks under watch as a service with the same database does, 100 in a transaction."""
    policy = Policy(
        batch_sizes={"hub": 100},
        allow=Allow.parse(["127.0.0.0/8"]),
        first_poll_delay=timedelta(seconds=delay_s),
    )
    engine = make_engine(database)
    sessions = make_sessions(engine)
    for start in range(0, len(ids), LINES):
        asked = [Request(task_id=one, action="MUSIC", notify_hook=hook) for one in ids[start : start + LINES]]
        with sessions.begin() as session:
            put_under_watch(session, requests=asked, policy=policy)
    engine.dispose()


def afternoon(play: Play, *, pool: str) -> dict[str, float]:
    """One Celery worker with the afternoon script."""
    sizes = play.sizes
    settings = {
        "AFTERNOON_BROKER": play.stage.valkey.url,
        "AFTERNOON_GATEWAY": f"http://127.0.0.1:{play.gateway}",
        "AFTERNOON_INTERVAL": f"{sizes.interval_s:g}",
    }
    command = [*CELERY, "-A", "benchmarks.afternoon", "worker", f"--pool={pool}"]
    command += [f"--concurrency={POOLS[pool]}", "--loglevel=INFO", "--without-gossip", "--without-mingle"]
    watch.app.conf.update(broker_url=play.stage.valkey.url)

    def begin(ids: Sequence[str]) -> None:
        for one in ids:
            watch.apply_async((one, play.hook), countdown=sizes.interval_s)

    with running(command, settings=settings, log=play.stage.folder / f"{pool}.log") as worker:
        return play.watched(
            play.ids(sizes.afternoon_tasks), begin=begin, roots={"worker": worker.process.pid}
        )
