"""Another Python service enqueues in its own transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

import worker
from tests.factory import add_gateway
from worker.db.models import SunoTask
from worker.db.session import Sessions


def watched(sessions: Sessions) -> int:
    """Return how many tasks are under watch."""
    with sessions() as session:
        return session.scalars(select(func.count()).select_from(SunoTask)).one()


@pytest.fixture
def hub(sessions: Sessions) -> Sessions:
    """Give a database that a worker has named its gateway in."""
    with sessions.begin() as session:
        add_gateway(session)
    return sessions


def test_the_callers_commit_decides(hub: Sessions) -> None:
    """A task is watched if and only if the caller's transaction commits."""
    with hub.begin() as session:
        enqueued = worker.enqueue(session, task_id="t", action="music", notify_hook="https://x.example/")
        assert enqueued == worker.Enqueued(task_id="t", gateway="hub", created=True, status="SUBMITTED")
        session.rollback()
    assert watched(hub) == 0
    with hub.begin() as session:
        worker.enqueue(session, task_id="t", action="music", notify_hook="https://x.example/")
    assert watched(hub) == 1


def test_a_refusal_leaves_the_callers_transaction_whole(hub: Sessions) -> None:
    """The caller may catch it and commit what else it did."""
    with hub.begin() as session:
        add_gateway(session, name="written by the caller")
        with pytest.raises(worker.Refused, match=r"^notify_hook: "):
            worker.enqueue(
                session, task_id="t", action="MUSIC", notify_hook="http://10.0.0.1/", gateway="hub"
            )
        with pytest.raises(worker.Refused, match=r"^task_id: must be a string, not int$"):
            worker.enqueue(session, task_id=7, action="MUSIC", gateway="hub")  # type: ignore[arg-type]
    assert watched(hub) == 0
    with hub.begin() as session, pytest.raises(worker.Refused, match=r"^gateway: missing, and several"):
        worker.enqueue(session, task_id="t", action="MUSIC")


def test_exceptions_for_private_hooks_come_from_the_environment(
    hub: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service that enqueues may be given the worker's own WORKER_WEBHOOK_ALLOW."""
    monkeypatch.setenv("WORKER_WEBHOOK_ALLOW", "10.0.0.0/8")
    with hub.begin() as session:
        assert worker.enqueue(session, task_id="t", action="MUSIC", notify_hook="http://10.0.0.1/").created
