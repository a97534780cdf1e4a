"""Fills a database with pending and finished tasks, in SQL: a million of each takes well under a minute.

Pending and finished tasks alternate on disk, and 100 pending ones in a row make a poll batch: as in a
database that has been at work for a while. `plain_tasks` is a copy of the table for the plain design, with
all its indexes, a due time of its own and an index on that.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text

from worker.db.models import PollBatch

BATCH = 100

SERIES = {
    "postgresql": "SELECT n FROM generate_series(1, :count) AS n",
    "sqlite": "WITH RECURSIVE series(n) AS "
    "(SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < :count) SELECT n FROM series",
}
NOW = {"postgresql": "clock_timestamp()", "sqlite": "strftime('%Y-%m-%d %H:%M:%f000', 'now')"}

ADD_BATCHES = """
INSERT INTO poll_batches (id, gateway, action, next_poll_at, claims, youngest_at{columns})
SELECT n, 'hub', 'MUSIC', {now}, 0, {now}{values} FROM ({series}) AS numbers
"""
ADD_TASKS = """
INSERT INTO suno_tasks (gateway, task_id, action, notify_hook, status, upstream_status, progress, fail_reason,
                        absences, data, enqueued_at, finished_at, poll_batch_id)
SELECT 'hub', 'task-' || n, 'MUSIC', 'https://receiver.example/hook',
       CASE n % 2 WHEN 0 THEN 'IN_PROGRESS' ELSE 'SUCCESS' END,
       CASE n % 2 WHEN 0 THEN 'IN_PROGRESS' ELSE 'SUCCESS' END,
       CASE n % 2 WHEN 0 THEN 50 ELSE 100 END, '', 0,
       CASE n % 2 WHEN 1 THEN '[{{"id": "clip", "audio_url": "https://cdn1.suno.ai/clip.mp3"}}]' END,
       {now}, CASE n % 2 WHEN 1 THEN {now} END,
       CASE n % 2 WHEN 0 THEN (n / 2 - 1) / 100 + 1 END
FROM ({series}) AS numbers
"""

PLAIN = {
    "postgresql": (
        "CREATE TABLE plain_tasks (LIKE suno_tasks INCLUDING DEFAULTS INCLUDING INDEXES)",
        "ALTER TABLE plain_tasks ADD COLUMN next_poll_at timestamptz",
        """INSERT INTO plain_tasks SELECT *, CASE WHEN poll_batch_id IS NOT NULL THEN clock_timestamp() END
             FROM suno_tasks""",
    ),
    "sqlite": (
        """CREATE TABLE plain_tasks AS
             SELECT *, CASE WHEN poll_batch_id IS NOT NULL THEN enqueued_at END AS next_poll_at
             FROM suno_tasks""",
        "CREATE UNIQUE INDEX ix_plain_id ON plain_tasks (id)",
        "CREATE UNIQUE INDEX ix_plain_task ON plain_tasks (gateway, task_id)",
    ),
}
PLAIN_DUE = "CREATE INDEX ix_plain_due ON plain_tasks (next_poll_at) WHERE next_poll_at IS NOT NULL"


def fill(engine: Engine, *, pending: int, plain: bool = True) -> None:
    """Put `pending` pending and as many finished tasks into an empty, migrated database; all are due.

    `plain` also fills the table of the plain design.
    """
    name = engine.dialect.name
    parts = {"series": SERIES[name], "now": NOW[name], "columns": "", "values": ""}
    if "size" in PollBatch.__table__.columns:
        parts |= {"columns": ", size", "values": f", {BATCH}"}
    with engine.begin() as connection:
        take_your_time(connection)
        connection.execute(text("INSERT INTO gateways (name, batch_size, failures) VALUES ('hub', 100, 0)"))
        connection.execute(text(ADD_BATCHES.format(**parts)), {"count": pending // BATCH})
        connection.execute(text(ADD_TASKS.format(**parts)), {"count": 2 * pending})
        for statement in (*PLAIN[name], PLAIN_DUE) if plain else ():
            connection.execute(text(statement))
        _check(connection, pending=pending)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT", sqlite_begin="DEFERRED") as tidy:
        take_your_time(tidy)
        tidy.execute(text("VACUUM ANALYZE" if name == "postgresql" else "ANALYZE"))


def take_your_time(connection: Connection) -> None:
    """Lift the limit of 60 s for a statement: a million rows may take longer on a busy machine."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET statement_timeout = 0"))


def _check(connection: Connection, *, pending: int) -> None:
    """End the benchmark when the tables do not hold what it is about to measure."""
    counts = connection.execute(
        text("SELECT count(*), count(poll_batch_id), count(DISTINCT poll_batch_id) FROM suno_tasks")
    ).one()
    assert tuple(counts) == (2 * pending, pending, pending // BATCH), counts
