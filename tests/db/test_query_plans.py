"""Every look at what is due stays on its index, whatever else the tables hold."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session

from tests.conftest import TEMPLATE
from tests.factory import NOW, ORIGIN, add_batch, add_delivery, add_gateway, add_origin, add_task
from tests.servers import PostgresServer
from worker.core.origins import OriginHealth
from worker.db import (
    claimable,
    deliveries,
    delivery_claims,
    figures,
    lateness,
    origins,
    poll_batches,
    suno_tasks,
    tail,
)
from worker.db.cursor import Cursor
from worker.db.deliveries import State
from worker.db.models import Delivery, SunoTask
from worker.db.session import make_engine, make_sessions
from worker.db.statements import table_of

# They share two filled databases.
pytestmark = pytest.mark.xdist_group("query_plans")

ROWS = 400


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Give tables in which what is due is the exception, with fresh statistics; no test changes them."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            file = tmp_path_factory.mktemp("plans") / "worker.db"
            url = f"sqlite:///{shutil.copy(request.getfixturevalue('migrated_file'), file)}"
        else:
            server: PostgresServer = request.getfixturevalue("migrated_postgres")
            server.create_database("plans", template=TEMPLATE)
            stack.callback(server.drop_database, "plans")
            url = server.url("plans")
        engine = make_engine(url)
        stack.callback(engine.dispose)
        fill(engine)
        yield engine


def fill(engine: Engine) -> None:
    """Write the rows, and have the database count them."""
    with make_sessions(engine).begin() as session:
        add_gateway(session)
        for number in range(ROWS):
            soon = NOW + timedelta(seconds=number + 1)
            batch_id = add_batch(session, next_poll_at=soon, size=0 if number % 20 == 0 else 99)
            add_task(session, poll_batch_id=batch_id)
            add_delivery(session, state="PENDING" if number % 20 == 0 else "DELIVERED", next_attempt_at=soon)
            add_origin(session, origin=f"https://h{number}.example:443", next_claim_at=soon)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
        if engine.dialect.name == "postgresql":  # a table of this size would be read whole, rightly
            connection.execute(text("ALTER DATABASE plans SET enable_seqscan = off"))
    engine.dispose()


def plans(engine: Engine, run: Callable[[Session], object]) -> str:
    """Run `run(session)`, take it back, and return the plans of all statements that it sent."""
    sent: list[tuple[str, Any]] = []

    def note(
        _connection: object, _cursor: object, statement: str, parameters: object, *_rest: object
    ) -> None:
        sent.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    with make_sessions(engine)() as session:
        run(session)
        session.rollback()
    event.remove(engine, "before_cursor_execute", note)
    explain = "EXPLAIN " if engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    lines: list[str] = []
    with engine.begin() as connection:
        for statement, parameters in sent:
            if not statement.lstrip().startswith("INSERT"):
                lines += [str(row) for row in connection.exec_driver_sql(explain + statement, parameters)]
    return "\n".join(lines)


CHANGES = [(id_, {"state_seen": "PENDING", "claims_seen": 1, "state": "DELIVERED"}) for id_ in "ab"]


def take(session: Session, *, first_only: bool, now: datetime = NOW) -> object:
    """Claim deliveries of one origin."""
    until = now + timedelta(minutes=1)
    return delivery_claims.claim(session, grants={ORIGIN: 4}, first_only=first_only, until=until, now=now)


def take_some(session: Session) -> None:
    """Claim when some are due, so that they are read."""
    assert take(session, first_only=False, now=NOW + timedelta(hours=1))


def lock_thin(session: Session) -> object:
    """Look for what a request may be filled with."""
    return claimable.lock_thin(
        session,
        gateway="hub",
        actions=["MUSIC"],
        below=90,
        room=99,
        rows=500,
        interval=timedelta(seconds=10),
        now=NOW,
    )


@pytest.mark.parametrize(
    ("index", "run"),
    [
        (
            "ix_poll_batches_due",
            lambda s: claimable.lock_due(s, gateway="hub", room=400, rows=500, now=NOW),
        ),
        ("ix_poll_batches_thin", lock_thin),
        ("ix_suno_tasks_pending", lambda s: poll_batches.move(s, sources=[1, 2], target=3)),
        ("ix_suno_tasks_pending", lambda s: poll_batches.move(s, sources=[1], target=3, count=1)),
        ("ix_poll_batches_due", lambda s: poll_batches.look(s, gateway="hub", now=NOW)),
        ("ix_poll_batches_leased", lambda s: poll_batches.live_leases(s, gateway="hub", now=NOW)),
        ("ix_suno_tasks_pending", lambda s: suno_tasks.of_batches(s, batch_ids=[1, 2, 3])),
        ("ix_origins_due", lambda s: origins.take_due(s, limit=4, now=NOW)),
        ("ix_deliveries_leased", lambda s: origins.in_flight(s, origins=[ORIGIN], now=NOW)),
        ("ix_deliveries_due", lambda s: origins.next_due(s, origins=[ORIGIN])),
        ("ix_deliveries_due", lambda s: take(s, first_only=False)),
        ("ix_deliveries_first", lambda s: take(s, first_only=True)),
        ("deliveries", lambda s: deliveries.hold(s, ids=["a", "b"])),
        ("suno_tasks", take_some),
        ("deliveries", lambda s: deliveries.write_if_state_seen(s, changes=CHANGES)),
        ("ix_poll_batches_due", lambda s: lateness.oldest_due_poll(s, now=NOW)),
        ("ix_deliveries_due", lambda s: lateness.oldest_due_delivery(s, now=NOW)),
        ("ix_attempts_delivery_id", lambda s: tail.read_attempts(s, Cursor(high=0), now=NOW)),
        ("ix_deliveries_discarded", lambda s: figures.count_deliveries(s, state=State.DISCARDED)),
    ],
    ids=[
        "due batches",
        "thin batches",
        "move all tasks",
        "move some tasks",
        "look at what is due",
        "requests in flight",
        "tasks of batches",
        "due origins",
        "POSTs in flight",
        "next due",
        "claim deliveries",
        "claim first attempts",
        "hold deliveries",
        "read claimed deliveries",
        "record deliveries",
        "oldest due poll",
        "oldest due delivery",
        "new attempts",
        "discarded deliveries",
    ],
)
def test_a_hot_query_uses_its_index(filled: Engine, index: str, run: Callable[[Session], object]) -> None:
    """The plan names the index and reads no table whole."""
    plan = plans(filled, run)
    assert index in plan
    for table in ("poll_batches", "suno_tasks", "deliveries"):
        assert f"Seq Scan on {table}" not in plan
        assert f"SCAN {table}'" not in plan


def owe(session: Session, *, count: int) -> None:
    """Write deliveries to four receivers, all due."""
    add_delivery(session, origin="https://h0.example:443", next_attempt_at=NOW)
    task, delivery = (
        ", ".join(column.name for column in table_of(model).columns if column.name not in own)
        for model, own in ((SunoTask, {"id", "task_id"}), (Delivery, {"id", "origin", "suno_task_id"}))
    )
    session.execute(
        text(
            f"WITH new AS (INSERT INTO suno_tasks (task_id, {task})"  # noqa: S608 - columns of ours
            f" SELECT 't' || n || task_id, {task}"
            " FROM (SELECT * FROM suno_tasks ORDER BY id DESC LIMIT 1) one, generate_series(1, :count) n"
            " RETURNING id)"
            f" INSERT INTO deliveries (id, origin, suno_task_id, {delivery})"
            f" SELECT 'd' || new.id, 'https://h' || new.id % 4 || '.example:443', new.id, {delivery}"
            " FROM new, (SELECT * FROM deliveries ORDER BY suno_task_id DESC LIMIT 1) one"
        ),
        {"count": count - 1},
    )


@pytest.fixture
def backlog(postgresql_url: str) -> Iterator[Engine]:
    """Give a database in which 20,000 deliveries to four receivers are due, with fresh statistics."""
    engine = make_engine(postgresql_url)
    with make_sessions(engine).begin() as session:
        add_gateway(session)
        owe(session, count=20_000)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE deliveries, suno_tasks"))
    yield engine
    engine.dispose()


def take_all(session: Session, *, first_only: bool = False) -> None:
    """Claim six deliveries of each receiver of the backlog."""
    grants = {f"https://h{number}.example:443": 6 for number in range(4)}
    until = NOW + timedelta(minutes=1)
    taken = delivery_claims.claim(session, grants=grants, first_only=first_only, until=until, now=NOW)
    assert Counter(one.origin for one in taken) == grants


def test_a_claim_of_a_backlog_reads_what_it_takes(backlog: Engine) -> None:
    """The rows are found by index and by key, whatever the planner chooses."""
    plan = plans(backlog, take_all)

    assert "ix_deliveries_due" in plan or "ix_deliveries_first" in plan
    assert "pk_suno_tasks" in plan
    assert "Seq Scan" not in plan


def test_a_backlog_is_worked_off_by_plans_that_are_made_once(backlog: Engine) -> None:
    """A plan for the values of each claim and record would be no better, and takes longer than some of them.

    The driver prepares a statement at its sixth run, and the server makes five plans before it keeps one.
    """
    name = "https://h0.example:443"
    with make_sessions(backlog)() as session:
        for _ in range(15):
            take_all(session)
            take_all(session, first_only=True)
            health = {name: OriginHealth(delivered_at=NOW)}
            origins.write_health(session, health=health, not_before={name: NOW}, now=NOW)
            session.commit()
        kept = session.execute(
            text("SELECT statement, generic_plans FROM pg_prepared_statements WHERE statement LIKE 'UPDATE%'")
        ).all()
    assert len(kept) == 3
    assert [statement for statement, generic_plans in kept if not generic_plans] == []


def test_a_plan_that_was_made_for_a_small_table_reads_no_large_one_whole(postgresql_url: str) -> None:
    """A first burst comes before the server counts its rows anew; the worker's engine needs no count."""
    engine = make_engine(postgresql_url, by_index=True)
    with make_sessions(engine)() as session:
        add_gateway(session)
        for _ in range(15):
            owe(session, count=60)
            take_all(session)
            session.commit()
        owe(session, count=20_000)
        session.commit()
        health = {"https://h0.example:443": OriginHealth(delivered_at=NOW)}
        take_all(session)
        origins.next_due(session, origins=list(health))
        origins.write_health(session, health=health, not_before=dict.fromkeys(health, NOW), now=NOW)
        whole = session.execute(
            text("SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0 ORDER BY relname")
        )
        assert whole.scalars().all() == []
        session.rollback()
    engine.dispose()
