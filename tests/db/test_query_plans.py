"""Every look at what is due stays on its index, whatever else the tables hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from tests.factory import NOW, add_batch, add_delivery, add_gateway, add_task
from worker.db import deliveries, poll_batches, suno_tasks
from worker.db.session import Sessions

ROWS = 400


@pytest.fixture
def filled(sessions: Sessions, engine: Engine) -> Sessions:
    """Give tables in which what is due is the exception, with fresh statistics."""
    with sessions.begin() as session:
        add_gateway(session)
        for number in range(ROWS):
            soon = NOW + timedelta(seconds=number + 1)
            batch_id = add_batch(session, next_poll_at=soon)
            add_task(session, poll_batch_id=batch_id)
            add_delivery(session, state="PENDING" if number % 20 == 0 else "DELIVERED", next_attempt_at=soon)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        if engine.dialect.name == "postgresql":  # a table of this size would be read whole, rightly
            connection.execute(text(f"ALTER DATABASE {engine.url.database} SET enable_seqscan = off"))
    engine.dispose()
    return sessions


def plans(engine: Engine, sessions: Sessions, run: Callable[[Session], object]) -> str:
    """Run `run(session)` and return the plans of all statements that it sent."""
    sent: list[tuple[str, Any]] = []

    def note(
        _connection: object, _cursor: object, statement: str, parameters: object, *_rest: object
    ) -> None:
        sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    with sessions.begin() as session:
        run(session)
    event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN " if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    lines: list[str] = []
    with engine.begin() as connection:
        for statement, parameters in sent:
            if not statement.lstrip().startswith("INSERT"):
                lines += [str(row) for row in connection.exec_driver_sql(explain + statement, parameters)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("index", "run"),
    [
        (
            "ix_poll_batches_due",
            lambda s: poll_batches.claim(s, gateway="hub", limit=4, lease=timedelta(minutes=1), now=NOW),
        ),
        ("ix_poll_batches_leased", lambda s: poll_batches.live_leases(s, gateway="hub", now=NOW)),
        ("ix_suno_tasks_pending", lambda s: suno_tasks.of_batches(s, batch_ids=[1, 2, 3])),
        ("ix_deliveries_due", lambda s: deliveries.claim(s, limit=4, lease=timedelta(minutes=1), now=NOW)),
    ],
    ids=["claim batches", "live leases", "tasks of batches", "claim deliveries"],
)
def test_a_hot_query_uses_its_index(
    engine: Engine, filled: Sessions, index: str, run: Callable[[Session], object]
) -> None:
    """The plan names the index and reads no table whole."""
    plan = plans(engine, filled, run)
    assert index in plan
    for table in ("poll_batches", "suno_tasks", "deliveries"):
        assert f"Seq Scan on {table}" not in plan
        assert f"SCAN {table}'" not in plan
