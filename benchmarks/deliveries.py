"""Fills an outbox, and reads from the attempts how fast it was emptied."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import insert, text

from benchmarks.gateway import DATA
from worker.db import origins
from worker.db.models import Gateway
from worker.db.session import make_engine, make_sessions

WARM_UP = 256
EMPTY = "TRUNCATE attempts, deliveries, transitions, suno_tasks, origins, gateways CASCADE"
OWE = """
WITH finished AS (
    INSERT INTO suno_tasks (gateway, task_id, action, status, data, enqueued_at, finished_at)
    SELECT 'hub', 't' || n, 'MUSIC', 'SUCCESS', :data, :now, :now FROM generate_series(0, :count - 1) AS n
    RETURNING id, substr(task_id, 2)::int AS n
)
INSERT INTO deliveries (id, suno_task_id, event, state, created_at, next_attempt_at, origin, notify_hook)
SELECT 'msg_' || lpad(to_hex(n), 12, '0') || left(md5(n::text), 20), id, 'finished', 'PENDING', :now,
       CASE WHEN n < :due THEN :now ELSE CAST(:now AS timestamptz) + interval '1 day' END,
       names[n % :hosts + 1], names[n % :hosts + 1] || '/hook'
FROM finished, CAST(:names AS text[]) AS names
"""


def fill(
    database: str, *, ports: list[int], count: int, known: bool, due: bool = False, beside: bool = False
) -> None:
    """Replace the outbox by `count` deliveries over the ports; `known` origins are at full speed.

    Unless all are `due`, the first 256 are, for the warm-up; the others tomorrow, until the measured process
    makes them due. `beside` leaves what is there. A task's id is `t` and its number.
    """
    engine = make_engine(database)
    now = datetime.now(UTC)
    names = [f"http://127.0.0.1:{port}" for port in ports]
    with make_sessions(engine).begin() as session:
        session.execute(text("SET LOCAL statement_timeout = 0"))
        if not beside:
            session.execute(text(EMPTY))
            session.execute(insert(Gateway).values(name="hub"))
        wanted = {"data": DATA, "now": now, "count": count, "due": count if due else WARM_UP}
        session.execute(text(OWE), wanted | {"names": names, "hosts": len(names)})
        origins.make_due(session, origins=names, now=now)
        if known:
            session.execute(text("UPDATE origins SET concurrency = 64, delivered_at = :now"), {"now": now})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()
