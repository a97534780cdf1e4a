"""Delete what is past its retention, in small transactions that nobody has to wait for.

Finished Suno tasks go with their transitions, deliveries and attempts, but never one whose delivery is still
PENDING. Rejections go after 7 days or beyond 10,000; origins that nothing refers to go after 7 idle days.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, exists, func, select
from sqlalchemy.orm import Session

from worker.db import deliveries
from worker.db.clock import read_now
from worker.db.models import Attempt, Delivery, Origin, Rejection, SunoTask, Transition
from worker.db.session import Sessions

# (session, now) -> how many rows were looked at, and how many of them went.
Step = Callable[[Session, datetime], tuple[int, int]]

GROUP = 200  # rows of one transaction
REJECTIONS_KEPT_FOR = timedelta(days=7)
REJECTIONS_KEPT = 10_000
ORIGINS_KEPT_FOR = timedelta(days=7)


def prune(sessions: Sessions, *, retention: timedelta, stop: threading.Event) -> dict[str, int]:
    """Delete what is past its time; return how much of each. `stop` ends it between two transactions."""
    removed = dict.fromkeys(("suno_tasks", "rejections", "origins"), 0)
    for what, number in pruned(sessions, retention=retention, stop=stop):
        removed[what] += number
    return removed


def pruned(sessions: Sessions, *, retention: timedelta, stop: threading.Event) -> Iterator[tuple[str, int]]:
    """Do the same step by step: yield after each transaction what went in it, and how many."""
    steps: dict[str, Step] = {
        "suno_tasks": lambda session, now: _prune_tasks(session, before=now - retention),
        "rejections": _prune_rejections,
        "origins": _prune_origins,
    }
    for what, step in steps.items():
        looked_at = GROUP
        while looked_at >= GROUP and not stop.is_set():
            with sessions.begin() as session:
                looked_at, removed = step(session, read_now(session))
            yield what, removed


def count_past(session: Session, *, retention: timedelta) -> int:
    """Return how many Suno tasks a run would delete now; those whose delivery is PENDING stay."""
    old = select(func.count()).where(_past(before=read_now(session) - retention))
    return session.scalars(old).one()


def _past(*, before: datetime) -> ColumnElement[bool]:
    pending = exists().where(
        Delivery.suno_task_id == SunoTask.id, Delivery.state == deliveries.State.PENDING.value
    )
    return and_(SunoTask.finished_at < before, ~pending)


def _prune_tasks(session: Session, *, before: datetime) -> tuple[int, int]:
    old = (
        select(SunoTask.id)
        .where(_past(before=before))
        .order_by(SunoTask.finished_at)
        .limit(GROUP)
        .with_for_update(skip_locked=True, of=SunoTask)
    )
    ids = list(session.scalars(old))
    if not ids:
        return 0, 0
    # Read again under lock: a resend or recovery that came between has made its delivery PENDING.
    owned = select(Delivery.id, Delivery.suno_task_id, Delivery.state).where(Delivery.suno_task_id.in_(ids))
    rows = session.execute(owned.order_by(Delivery.id).with_for_update()).all()
    owed = {row.suno_task_id for row in rows if row.state == deliveries.State.PENDING.value}
    gone = [row_id for row_id in ids if row_id not in owed]
    of_gone = [row.id for row in rows if row.suno_task_id not in owed]
    session.execute(delete(Attempt).where(Attempt.delivery_id.in_(of_gone)))
    session.execute(delete(Delivery).where(Delivery.id.in_(of_gone)))
    session.execute(delete(Transition).where(Transition.suno_task_id.in_(gone)))
    session.execute(delete(SunoTask).where(SunoTask.id.in_(gone)))
    return len(ids), len(gone)


def _prune_rejections(session: Session, now: datetime) -> tuple[int, int]:
    newest_kept = select(Rejection.id).order_by(Rejection.id.desc()).offset(REJECTIONS_KEPT - 1).limit(1)
    edge = session.scalar(newest_kept)
    old = (
        select(Rejection.id)
        .where(Rejection.at < now - REJECTIONS_KEPT_FOR)
        .order_by(Rejection.at)
        .limit(GROUP)
    )
    ids = list(session.scalars(old))
    if edge is not None and len(ids) < GROUP:
        beyond = (
            select(Rejection.id).where(Rejection.id < edge).order_by(Rejection.id).limit(GROUP - len(ids))
        )
        ids += session.scalars(beyond)
    ids = sorted(set(ids))
    session.execute(delete(Rejection).where(Rejection.id.in_(ids)))
    return len(ids), len(ids)


def _prune_origins(session: Session, now: datetime) -> tuple[int, int]:
    """Delete origins without PENDING deliveries; one that is being made due at this moment is passed over."""
    idle = (Origin.last_used_at < now - ORIGINS_KEPT_FOR) & Origin.next_claim_at.is_(None)
    wanted = select(Origin.origin).where(idle).limit(GROUP).with_for_update(skip_locked=True)
    names = list(session.scalars(wanted))
    session.execute(delete(Origin).where(Origin.origin.in_(names), idle))
    return len(names), len(names)
