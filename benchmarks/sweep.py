"""One measured sweep in a process of its own: `python -m benchmarks.sweep batches|rows …` prints JSON.

`batches` is the whole poller with a client that has each answer in memory, as the bytes that a gateway of the
family sends: every task stands where it stood. So the claim, the reading, the decision and the record of an
unchanged answer are measured, and no HTTP. `rows` is the plain design beside it: a claim per task, in one
statement, which sets the next due time at once; an unchanged answer writes nothing more. That is kinder to it
than it could be: it reads no answer, and has no lease and no fencing token.

The poll interval is 0, so that what was asked is due again behind the others: the sweep goes round until
enough was asked, and nothing has to be made due from outside.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, event, text

from benchmarks.bare import measured
from worker.batches import ClaimedBatch, PolledGateway
from worker.clients.gateway import GatewayTarget
from worker.clients.portal import Portal
from worker.core.lifecycle import Action, Known, Limits, Seen, Status, Times, advance
from worker.core.wire import Fetch, Reply, read_batch
from worker.db.session import make_engine, make_sessions
from worker.looks import Claimed
from worker.poller import Poller

Spent = Callable[[], float]  # seconds of CPU so far: of the claiming thread, and of its backend


class Measure(Protocol):
    """Ask about at least so many tasks, and tell what it cost."""

    def __call__(self, engine: Engine, *, polls: int, spent: Spent = ...) -> dict[str, float]:
        """Ask."""


BATCH = 100
CONCURRENCY = 4
GROUP = BATCH * CONCURRENCY
LIMITS = Limits(
    task_deadline=timedelta(days=1), missing_grace=timedelta(minutes=5), stuck_after=timedelta(minutes=10)
)
UNCHANGED = Seen(
    status=Status.IN_PROGRESS,
    upstream_status="IN_PROGRESS",
    progress=50,
    fail_reason="",
    times=Times(),
    data=None,
)
HEAD = b'{"code":"success","message":"","data":['
ROW = (
    b'{"id":4711,"created_at":1783400001,"updated_at":1783400012,"task_id":"@","platform":"suno","user_id":7,'
    b'"group":"default","channel_id":3,"quota":150000,"action":"MUSIC","status":"IN_PROGRESS","fail_reason":"",'
    b'"submit_time":1783400001,"start_time":1783400012,"finish_time":0,"progress":"50%","properties":{"input":'
    b'"","upstream_model_name":"suno_music","origin_model_name":"suno_music"},"data":null}'
)
TARGET = GatewayTarget(
    name="hub",
    base_url="http://gateway.example",
    api_key="k",
    fetch=Fetch.BATCH,
    auth_header="Authorization",
    auth_prefix="Bearer ",
    timeout=timedelta(seconds=30),
)

CLAIM_ROWS = """
UPDATE plain_tasks SET next_poll_at = :due WHERE id IN (
  SELECT id FROM plain_tasks WHERE next_poll_at <= :now ORDER BY next_poll_at LIMIT :limit{lock}
) RETURNING id, task_id, status, upstream_status, progress, fail_reason, absences, enqueued_at
"""


class FromMemory:
    """A gateway client to which every task stands where it stood; it rings when enough was asked."""

    def __init__(self, *, polls: int, enough: threading.Event) -> None:
        """Make a client that sets `enough` after so many tasks."""
        self._left = polls
        self._enough = enough

    async def fetch(
        self, target: GatewayTarget, *, action: Action, task_ids: Sequence[str]
    ) -> AsyncIterator[tuple[tuple[str, ...], Reply]]:
        """Answer as the real client, without HTTP; putting the rows together costs 0.3 µs a task."""
        del target, action
        self._left -= len(task_ids)
        if self._left <= 0:
            self._enough.set()
        body = HEAD + b",".join([ROW.replace(b"@", task_id.encode()) for task_id in task_ids]) + b"]}"
        yield (
            tuple(task_ids),
            read_batch(
                status_code=200,
                content_type="application/json",
                retry_after=None,
                body=body,
                asked=task_ids,
            ),
        )


class TimedPoller(Poller):
    """The poller, with the time of each full claim."""

    claims: list[float]
    spent: Spent

    def claim(self, *, free: int) -> Claimed[ClaimedBatch]:
        """Claim, and note how long it took when it filled every slot."""
        begun = self.spent()
        claimed = super().claim(free=free)
        if len(claimed.items) == CONCURRENCY:
            self.claims.append(self.spent() - begun)
        return claimed


def batches(engine: Engine, *, polls: int, spent: Spent = time.thread_time) -> dict[str, float]:
    """Ask about so many tasks with the poller, and return what it cost."""
    portal = Portal.start()
    enough = threading.Event()
    poller = TimedPoller(
        sessions=make_sessions(engine),
        polled={
            "hub": PolledGateway(
                target=TARGET, batch_size=BATCH, concurrency=CONCURRENCY, cooldown=timedelta(seconds=5)
            )
        },
        limits=LIMITS,
        poll_interval=timedelta(0),
        client=FromMemory(polls=polls, enough=enough),
        submit=portal.submit,
        ring_deliver=lambda: None,
    )
    poller.claims, poller.spent = [], spent
    counts: dict[str, object] = {}
    result = measured(lambda: counts.update(poller.run(stop=enough, ring_successor=lambda: None)))
    portal.close()
    assert (counts["transitions"], counts["troubles"], counts["lost"]) == (0, 0, 0), counts
    return result | {"polled": float(str(counts["polled"])), "claim_ms": _undisturbed_ms(poller.claims)}


def rows(engine: Engine, *, polls: int, spent: Spent = time.thread_time) -> dict[str, float]:
    """Ask about so many tasks with a claim per task, and return what it cost."""
    lock = "" if engine.dialect.name == "sqlite" else " FOR UPDATE SKIP LOCKED"
    statement = text(CLAIM_ROWS.format(lock=lock))
    asked = 0
    claims: list[float] = []

    def sweep() -> None:
        nonlocal asked
        while asked < polls:
            begun = spent()
            now: Any = datetime.now(UTC)
            if engine.dialect.name == "sqlite":
                now = now.replace(tzinfo=None).isoformat(sep=" ")
            with engine.begin() as connection:
                claimed = connection.execute(statement, {"due": now, "now": now, "limit": GROUP}).all()
            claims.append(spent() - begun)
            moment = datetime.now(UTC)
            for row in claimed:
                step = advance(_known(row, moment), UNCHANGED, now=moment, limits=LIMITS)
                assert step.transition is None
            asked += len(claimed)

    result = measured(sweep)
    return result | {"polled": float(asked), "claim_ms": _undisturbed_ms(claims)}


def _known(row: Any, now: datetime) -> Known:  # noqa: ANN401 - a row of SQLAlchemy
    return Known(
        status=Status(row.status),
        upstream_status=row.upstream_status,
        progress=row.progress,
        fail_reason=row.fail_reason,
        absences=row.absences,
        stuck_since_at=None,
        enqueued_at=now,
    )


def _undisturbed_ms(seconds: Sequence[float]) -> float:
    """Return the tenth percentile: what else runs on the machine can only add to it."""
    return statistics.quantiles(seconds, n=10)[0] * 1000 if len(seconds) > 1 else 0.0


def on_postgresql(engine: Engine, *, measure: Measure, polls: int) -> dict[str, float]:
    """Measure, with the WAL and the CPU of the one backend that served it; autovacuum is not in it."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as observer:
        measure(engine, polls=2 * GROUP)  # warms up: compiled statements, the connection
        backend, wal = _written_by_worker(engine, observer)
        cpu = _cpu_of(backend)
        result = measure(engine, polls=polls, spent=lambda: time.thread_time() + _cpu_of(backend))
        cpu = _cpu_of(backend) - cpu
        same, wal_after = _written_by_worker(engine, observer)
        assert same == backend, "the sweep used more than one connection"
    return result | {"database_s": cpu, "wal": float(wal_after - wal)}


def _written_by_worker(engine: Engine, observer: Connection) -> tuple[int, int]:
    """Return the backend of the pool's one other connection, and the WAL bytes that it has written so far."""
    with engine.connect() as worked:
        backend = int(worked.scalar(text("SELECT pg_backend_pid()")) or 0)
        worked.execute(text("SELECT pg_stat_force_next_flush()"))  # what it counted becomes visible now
    wal = text("SELECT wal_bytes FROM pg_stat_get_backend_wal(:backend)")
    return backend, int(observer.scalar(wal, {"backend": backend}) or 0)


def on_sqlite(engine: Engine, *, measure: Measure, polls: int) -> dict[str, float]:
    """Measure, with the rows that the database says it changed."""
    opened: list[sqlite3.Connection] = []
    engine.dispose()  # so that every connection is opened under our eyes
    event.listen(engine, "connect", lambda connection, _record: opened.append(connection))
    measure(engine, polls=2 * GROUP)
    before = sum(connection.total_changes for connection in opened)
    result = measure(engine, polls=polls)
    return result | {"changes": float(sum(connection.total_changes for connection in opened) - before)}


DESIGNS: Mapping[str, Measure] = {"batches": batches, "rows": rows}


def _cpu_of(backend: int) -> float:
    """Return the seconds that a process has run, to the nanosecond; a tick of `stat` would be 10 ms."""
    return int(Path(f"/proc/{backend}/schedstat").read_text().split()[0]) / 1e9


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["batches", "rows"])
    parser.add_argument("--database", required=True)
    parser.add_argument("--polls", type=int, required=True)
    chosen = parser.parse_args()
    used = make_engine(chosen.database, by_index=True)
    on = on_sqlite if used.dialect.name == "sqlite" else on_postgresql
    print(json.dumps(on(used, measure=DESIGNS[chosen.what], polls=chosen.polls)))
    used.dispose()
