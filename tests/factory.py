"""Rows for tests: each function inserts one and takes overrides for the columns that the test is about."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from worker.clients.exchange import Exchange, Sent, exchange_of
from worker.clients.passage import Passage
from worker.core.verdicts import PostOutcome
from worker.db import origins
from worker.db.models import Attempt, Delivery, Gateway, Origin, PollBatch, SunoTask, Transition

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HOOK = "https://receiver.example/hook"
ORIGIN = "https://receiver.example:443"

numbers = itertools.count(1)


def add_gateway(session: Session, *, name: str = "hub", **columns: object) -> str:
    """Insert a gateway; return its name."""
    session.execute(insert(Gateway).values(name=name, **columns))
    return name


def add_batch(session: Session, *, gateway: str = "hub", **columns: object) -> int:
    """Insert a poll batch of MUSIC that is due at NOW; return its id."""
    values = {"action": "MUSIC", "next_poll_at": NOW, "youngest_at": NOW - timedelta(seconds=10)} | columns
    return session.scalars(insert(PollBatch).values(gateway=gateway, **values).returning(PollBatch.id)).one()


def add_task(session: Session, *, gateway: str = "hub", **columns: object) -> int:
    """Insert a Suno task in state SUBMITTED, in a batch of its own unless one is given; return its row id."""
    values = {
        "task_id": f"task-{next(numbers)}",
        "action": "MUSIC",
        "notify_hook": HOOK,
        "status": "SUBMITTED",
        "enqueued_at": NOW - timedelta(seconds=10),
    } | columns
    if values["status"] in ("SUBMITTED", "IN_PROGRESS") and "poll_batch_id" not in values:
        values["poll_batch_id"] = add_batch(session, gateway=gateway, action=values["action"])
    if values["status"] in ("SUCCESS", "FAILURE"):
        values.setdefault("finished_at", NOW)
    if values.get("poll_batch_id") is not None:
        grown = update(PollBatch).where(PollBatch.id == values["poll_batch_id"])
        session.execute(grown.values(size=PollBatch.size + 1))
    return session.scalars(insert(SunoTask).values(gateway=gateway, **values).returning(SunoTask.id)).one()


def add_delivery(session: Session, *, suno_task_id: int | None = None, **columns: object) -> str:
    """Insert a PENDING delivery, due at NOW, of a new finished task unless one is given; return its id."""
    if suno_task_id is None:
        suno_task_id = add_task(session, status="SUCCESS", data='{"a":1}', progress=100)
    values = {
        "id": f"msg_{next(numbers):032d}",
        "event": "finished",
        "notify_hook": HOOK,
        "origin": ORIGIN,
        "state": "PENDING",
        "next_attempt_at": NOW,
        "created_at": NOW,
    } | columns
    session.execute(insert(Delivery).values(suno_task_id=suno_task_id, **values))
    if values["state"] == "PENDING":
        origins.make_due(session, origins=[str(values["origin"])], now=NOW)
    return str(values["id"])


def add_attempt(session: Session, *, delivery_id: str, **columns: object) -> None:
    """Insert an attempt that was answered 500."""
    values = {
        "number": 1,
        "at": NOW,
        "trigger": "schedule",
        "duration_ms": 12,
        "status_code": 500,
        "detail": "",
        "request_bytes": len(b"{}"),
        "request_sha256": sha256(b"{}").hexdigest(),
    } | columns
    session.execute(insert(Attempt).values(delivery_id=delivery_id, **values))


def exchange(outcome: PostOutcome, *, body: bytes = b"{}") -> Exchange:
    """Return a POST of 12 ms over a pooled connection."""
    passage = Passage(asked_at=0.0, connected_at=0.0, heard_at=0.01, remote_address="192.0.2.1")
    return exchange_of(outcome, passage=passage, begun=0.0, end=0.012, sent=Sent.of(body))


def add_transition(session: Session, *, suno_task_id: int, **columns: object) -> None:
    """Insert the first transition of a task."""
    values = {"from_status": None, "to_status": "SUBMITTED", "at": NOW} | columns
    session.execute(insert(Transition).values(suno_task_id=suno_task_id, **values))


def add_origin(session: Session, *, origin: str = ORIGIN, **columns: object) -> None:
    """Insert an origin with nothing to send, or change one."""
    origins.make_due(session, origins=[origin], now=NOW)
    values = {"next_claim_at": None, "last_used_at": NOW} | columns
    session.execute(update(Origin).where(Origin.origin == origin).values(**values))
