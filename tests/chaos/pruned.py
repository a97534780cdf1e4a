"""What `suno.prune` took away: triggers keep how each delivery stood when it was deleted.

With them the account is exact although the tables are kept small: no look at them can come too late.
"""

from __future__ import annotations

from sqlalchemy import text

from tests.chaos.entries import Recorded
from tests.chaos.recording import recorded_of
from worker.db.session import Sessions, reading

TABLES = (
    "CREATE TABLE pruned (task_id TEXT, status TEXT, webhook_id TEXT, state TEXT)",
    "CREATE TABLE pruned_taken (webhook_id TEXT, number INTEGER)",
)
KEEP_DELIVERY = """
    INSERT INTO pruned SELECT suno_tasks.task_id, suno_tasks.status, OLD.id, OLD.state
    FROM suno_tasks WHERE suno_tasks.id = OLD.suno_task_id;
"""
KEEP_TAKEN = """
    INSERT INTO pruned_taken SELECT OLD.delivery_id, OLD.number WHERE OLD.status_code BETWEEN 200 AND 299;
"""


def keep_pruned(sessions: Sessions) -> None:
    """Have the database keep it from now on."""
    with sessions.begin() as session:
        on_sqlite = session.get_bind().dialect.name == "sqlite"
        for table in TABLES:
            session.execute(text(table))
        for table, keep in (("deliveries", KEEP_DELIVERY), ("attempts", KEEP_TAKEN)):
            trigger = f"CREATE TRIGGER keep_{table} BEFORE DELETE ON {table} FOR EACH ROW"
            if on_sqlite:
                session.connection().exec_driver_sql(f"{trigger} BEGIN {keep} END")
                continue
            session.connection().exec_driver_sql(
                f"CREATE FUNCTION keep_{table}() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$ BEGIN {keep} RETURN OLD; END $$"
            )
            session.connection().exec_driver_sql(f"{trigger} EXECUTE FUNCTION keep_{table}()")


def read_pruned(sessions: Sessions) -> dict[str, Recorded]:
    """Return how each task stood that is gone."""
    with reading(sessions) as session:
        return recorded_of(
            session.execute(text("SELECT webhook_id, number FROM pruned_taken")).all(),
            session.execute(text("SELECT task_id, status, webhook_id, state FROM pruned")),
        )
