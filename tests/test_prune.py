"""What is past its retention goes, and nothing that is still owed."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, func, insert, select, text, update

from tests.factory import add_attempt, add_delivery, add_gateway, add_origin, add_task, add_transition
from worker import prune as prune_module
from worker.db import origins
from worker.db.models import Attempt, Delivery, Origin, Rejection, SunoTask, Transition
from worker.db.session import Sessions, make_engine, make_sessions
from worker.prune import prune

MONTH = timedelta(days=30)


def run(sessions: Sessions) -> dict[str, int]:
    """Prune once with a retention of 30 days."""
    return prune(sessions, retention=MONTH, stop=threading.Event())


def count(sessions: Sessions, model: type) -> int:
    """Return the number of rows."""
    with sessions() as session:
        return session.scalars(select(func.count()).select_from(model)).one()


@pytest.fixture
def now() -> datetime:
    """Give the present."""
    return datetime.now(UTC)


def test_old_tasks_go_with_all_that_is_theirs(sessions: Sessions, now: datetime) -> None:
    """Transitions, deliveries and attempts go with them; the young, the pending and the owed stay."""
    with sessions.begin() as session:
        add_gateway(session)
        for age, state in ((31, "DELIVERED"), (31, "DISCARDED"), (31, "PENDING"), (29, "DELIVERED")):
            task = add_task(session, status="SUCCESS", finished_at=now - timedelta(days=age))
            add_transition(session, suno_task_id=task)
            add_attempt(session, delivery_id=add_delivery(session, suno_task_id=task, state=state))
        add_task(session, status="FAILURE", finished_at=now - timedelta(days=31), notify_hook=None)
        add_task(session, enqueued_at=now - timedelta(days=99))
    assert run(sessions)["suno_tasks"] == 3
    left = [count(sessions, model) for model in (SunoTask, Transition, Delivery, Attempt)]
    assert left == [3, 2, 2, 2]
    with sessions() as session:
        assert sorted(session.scalars(select(Delivery.state))) == ["DELIVERED", "PENDING"]


def test_more_than_one_group_goes_in_one_run(
    sessions: Sessions, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small transactions follow each other until nothing is left to delete."""
    monkeypatch.setattr(prune_module, "GROUP", 2)
    with sessions.begin() as session:
        add_gateway(session)
        for _ in range(5):
            add_task(session, status="SUCCESS", finished_at=now - timedelta(days=31))
    assert run(sessions)["suno_tasks"] == 5


def test_a_stop_ends_it_between_two_groups(sessions: Sessions, now: datetime) -> None:
    """A worker that shuts down does not wait for a long clean-up."""
    with sessions.begin() as session:
        add_gateway(session)
        add_task(session, status="SUCCESS", finished_at=now - timedelta(days=31))
    stop = threading.Event()
    stop.set()
    assert prune(sessions, retention=MONTH, stop=stop)["suno_tasks"] == 0
    assert count(sessions, SunoTask) == 1


def test_rejections_go_by_age_and_by_number(
    sessions: Sessions, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those older than 7 days go, and beyond the newest 10,000 (here 3) any."""
    monkeypatch.setattr(prune_module, "REJECTIONS_KEPT", 3)
    with sessions.begin() as session:
        for days in (8, 5, 4, 3, 2):
            row = {"at": now - timedelta(days=days), "source": "t", "reason": str(days), "arguments": "{}"}
            session.execute(insert(Rejection).values(**row))
    assert run(sessions)["rejections"] == 2
    with sessions() as session:
        assert list(session.scalars(select(Rejection.reason).order_by(Rejection.id))) == ["4", "3", "2"]


def test_idle_origins_go_unless_something_waits_for_them(sessions: Sessions, now: datetime) -> None:
    """An origin keeps its limit and breaker while a delivery to it is PENDING."""
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session, origin="https://idle.example:443", last_used_at=now - timedelta(days=8))
        add_origin(session, origin="https://young.example:443", last_used_at=now - timedelta(days=6))
        add_delivery(session, origin="https://busy.example:443")
        long_ago = now - timedelta(days=8)
        session.execute(update(Origin).where(Origin.origin.like("%busy%")).values(last_used_at=long_ago))
    assert run(sessions)["origins"] == 1
    with sessions() as session:
        left = sorted(session.scalars(select(Origin.origin)))
    assert left == ["https://busy.example:443", "https://young.example:443"]


def test_an_origin_that_is_used_at_this_moment_stays(postgresql_url: str, now: datetime) -> None:
    """A result for an idle origin is being recorded: the clean-up passes it over and does not wait."""
    engine = make_engine(postgresql_url)
    sessions = make_sessions(engine)
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session, origin="https://idle.example:443", last_used_at=now - timedelta(days=8))
    with sessions.begin() as recording:
        origins.make_due(recording, origins=["https://idle.example:443"], now=now)
        assert run(sessions)["origins"] == 0
    assert count(sessions, Origin) == 1
    engine.dispose()


def test_a_task_that_is_sent_again_at_this_moment_stays(postgresql_url: str, now: datetime) -> None:
    """Its delivery was made PENDING after the clean-up had chosen its task: it is read again under lock."""
    engine = make_engine(postgresql_url)
    sessions = make_sessions(engine)
    with sessions.begin() as session:
        add_gateway(session)
        task = add_task(session, status="SUCCESS", finished_at=now - timedelta(days=31))
        delivery = add_delivery(session, suno_task_id=task, state="DISCARDED")
    with ThreadPoolExecutor() as pool:
        with sessions.begin() as recovering:
            recovering.execute(update(Delivery).where(Delivery.id == delivery).values(state="PENDING"))
            pruned = pool.submit(run, sessions)
            with sessions() as looking:
                while not looking.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
                    looking.rollback()
        assert pruned.result()["suno_tasks"] == 0
    assert (count(sessions, SunoTask), count(sessions, Delivery)) == (1, 1)
    engine.dispose()


def test_tables_stay_bounded_over_many_cycles(postgresql_url: str) -> None:
    """Fifteen rounds of 100 results, each pruned after its time: after the first rounds no table grows."""
    engine = make_engine(postgresql_url)
    sessions = make_sessions(engine)
    with sessions.begin() as session:
        add_gateway(session)
    sizes: list[int] = []
    for _ in range(15):
        with sessions.begin() as session:
            long_ago = datetime.now(UTC) - timedelta(days=31)
            for _ in range(100):
                task = add_task(session, status="SUCCESS", finished_at=long_ago, data="x" * 500)
                add_transition(session, suno_task_id=task)
                add_attempt(session, delivery_id=add_delivery(session, suno_task_id=task, state="DELIVERED"))
        assert run(sessions)["suno_tasks"] == 100
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM"))  # what autovacuum does in an installation
            total = text("SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relname = ANY(:names)")
            names = ["suno_tasks", "transitions", "deliveries", "attempts", "poll_batches", "origins"]
            sizes.append(int(connection.execute(total, {"names": names}).scalar_one()))
    assert max(sizes[5:]) <= 1.2 * max(sizes[:5])
    assert [count(sessions, model) for model in (SunoTask, Transition, Delivery, Attempt)] == [0] * 4
    engine.dispose()


def test_no_transaction_of_the_clean_up_is_long(sessions: Sessions, now: datetime) -> None:
    """Each takes 200 tasks at most, so nobody waits longer than for those."""
    with sessions.begin() as session:
        add_gateway(session)
        for _ in range(450):
            add_task(session, status="SUCCESS", finished_at=now - timedelta(days=31))
    begun: list[str] = []
    engine = sessions.kw["bind"]

    def note(_connection: object) -> None:
        begun.append("begin")

    event.listen(engine, "begin", note)
    assert run(sessions)["suno_tasks"] == 450
    event.remove(engine, "begin", note)
    assert len(begun) == 3 + 1 + 1  # three groups of tasks, one look each at rejections and origins
