"""The benchmark of sweeps measures what it says, on both databases."""

from __future__ import annotations

from sqlalchemy import Engine, func, literal, select, text

from benchmarks.fill import fill
from benchmarks.sweep import on_postgresql, on_sqlite
from worker.db.models import PollBatch, SunoTask
from worker.db.session import make_engine

PENDING = 1_000


def filled(url: str) -> Engine:
    """Return a database with 1,000 pending and as many finished tasks."""
    engine = make_engine(url)
    fill(engine, pending=PENDING)
    return engine


def rows_written(engine: Engine, table: str) -> int:
    """Return how many rows of a table PostgreSQL says were updated."""
    with engine.connect() as connection:
        statement = text("SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = :table")
        return int(connection.scalar(statement, {"table": table}) or 0)


def test_postgresql_writes_no_unchanged_task(postgresql_url: str) -> None:
    """By PostgreSQL's own counters a sweep writes no task, and few bytes; the plain design writes each."""
    engine = filled(postgresql_url)
    ours = on_postgresql(engine, what="batches", polls=PENDING)
    plain = on_postgresql(engine, what="rows", polls=PENDING)
    written = {table: rows_written(engine, table) for table in ("suno_tasks", "plain_tasks", "poll_batches")}
    engine.dispose()

    assert written["suno_tasks"] == 0
    assert written["plain_tasks"] >= plain["polled"] >= PENDING
    assert written["poll_batches"] >= 2 * ours["polled"] / 100 >= 2 * PENDING / 100
    assert 0 < ours["wal"] / ours["polled"] < plain["wal"] / plain["polled"] / 10
    assert ours["database_s"] > 0


def test_sqlite_writes_no_unchanged_task(sqlite_url: str) -> None:
    """By SQLite's own counter a sweep writes each batch's one row twice, and no task."""
    engine = filled(sqlite_url)
    ours = on_sqlite(engine, what="batches", polls=PENDING)
    plain = on_sqlite(engine, what="rows", polls=PENDING)
    engine.dispose()

    assert ours["changes"] == 2 * ours["polled"] / 100
    assert plain["changes"] == plain["polled"]


def test_the_fill_is_like_a_database_at_work(sqlite_url: str) -> None:
    """Every batch is full; where a batch knows its size, that is what it knows."""
    engine = filled(sqlite_url)
    columns = PollBatch.__table__.columns
    known = columns["size"] if "size" in columns else literal(100)
    with engine.connect() as connection:
        found = connection.execute(
            select(func.count(SunoTask.id), known)
            .join_from(PollBatch, SunoTask, SunoTask.poll_batch_id == PollBatch.id)
            .group_by(PollBatch.id)
        ).all()
    engine.dispose()

    assert [tuple(row) for row in found] == [(100, 100)] * (PENDING // 100)
