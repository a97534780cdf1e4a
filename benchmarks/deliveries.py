"""Fills an outbox, and reads from the attempts how fast it was emptied."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, text

from worker.db import origins
from worker.db.identity import new_delivery_id
from worker.db.models import Delivery, Gateway, SunoTask
from worker.db.session import make_engine, make_sessions

GROUP = 1_000
WARM_UP = 256
TABLES = ("attempts", "deliveries", "transitions", "suno_tasks", "origins", "gateways")


def fill(
    database: str, *, ports: list[int], count: int, known: bool, due: bool = False, beside: bool = False
) -> None:
    """Replace the outbox by `count` deliveries over the ports; `known` origins are at full speed.

    Unless all are `due`, the first 256 are, for the warm-up; the others tomorrow, until the measured process
    makes them due. `beside` leaves what is there. A task's id is `t` and its number.
    """
    engine = make_engine(database)
    data = json.dumps([{"id": "x" * 36, "audio_url": "y" * 100, "prompt": "z" * 2000}])
    now = datetime.now(UTC)
    names = [f"http://127.0.0.1:{port}" for port in ports]
    with make_sessions(engine).begin() as session:
        if not beside:
            for table in TABLES:
                session.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names of ours
            session.execute(insert(Gateway).values(name="hub"))
        for start in range(0, count, GROUP):
            numbers = range(start, min(start + GROUP, count))
            finished = {"gateway": "hub", "action": "MUSIC", "status": "SUCCESS", "data": data}
            moments = {"enqueued_at": now, "finished_at": now}
            tasks = [finished | moments | {"task_id": f"t{number}"} for number in numbers]
            inserted = insert(SunoTask).returning(SunoTask.id, sort_by_parameter_order=True)
            ids = session.scalars(inserted, tasks)
            pending = {"event": "finished", "state": "PENDING", "created_at": now}
            owed = [
                pending
                | {
                    "id": new_delivery_id(now=now),
                    "suno_task_id": row_id,
                    "next_attempt_at": now if due or number < WARM_UP else now + timedelta(days=1),
                    "notify_hook": f"{names[number % len(names)]}/hook",
                    "origin": names[number % len(names)],
                }
                for number, row_id in zip(numbers, ids, strict=True)
            ]
            session.execute(insert(Delivery), owed)
        origins.make_due(session, origins=names, now=now)
        if known:
            session.execute(text("UPDATE origins SET concurrency = 64, delivered_at = :now"), {"now": now})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def healthy_rate(database: str, result: dict[str, float]) -> float:
    """Return deliveries per second between the first and the last attempt that was answered."""
    engine = make_engine(database)
    query = (
        "SELECT count(*), min(at), max(at) FROM attempts "
        "WHERE status_code = 200 AND at >= to_timestamp(:since)"
    )
    with engine.connect() as connection:
        count, first, last = connection.execute(text(query), {"since": result["since"]}).one()
    engine.dispose()
    assert count == result["delivered"]
    return float(count / max((last - first).total_seconds(), 0.001))
