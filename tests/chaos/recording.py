"""What the database of an installation holds: for the books, and for short forms that do not wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, text

from tests.chaos.entries import Recorded
from tests.chaos.world import clock
from worker.db.models import Attempt, Delivery, SunoTask
from worker.db.session import Sessions, reading


def read_recorded(sessions: Sessions) -> dict[str, Recorded]:
    """Read what is recorded of every task."""
    with reading(sessions) as session:
        taken = session.execute(
            select(Attempt.delivery_id, Attempt.number).where(Attempt.status_code.between(200, 299))
        )
        return recorded_of(
            taken.all(),
            session.execute(
                select(SunoTask.task_id, SunoTask.status, Delivery.id, Delivery.state).join_from(
                    SunoTask, Delivery, Delivery.suno_task_id == SunoTask.id, isouter=True
                )
            ),
        )


def recorded_of(taken: Iterable[Sequence[Any]], tasks: Iterable[Sequence[Any]]) -> dict[str, Recorded]:
    """Put rows together: attempts that got a 2xx (delivery, number); tasks (id, status, delivery, state)."""
    numbers: dict[str, set[int]] = {}
    for webhook_id, number in taken:
        numbers.setdefault(webhook_id, set()).add(number)
    return {
        task_id: Recorded(
            status=status,
            webhook_id=webhook_id,
            state=state,
            taken=frozenset(numbers.get(webhook_id, ())),
        )
        for task_id, status, webhook_id, state in tasks
    }


def count_pending(sessions: Sessions) -> int:
    """Count the deliveries that are not settled."""
    with reading(sessions) as session:
        statement = select(func.count()).select_from(Delivery).where(Delivery.state == "PENDING")
        return session.scalars(statement).one()


def end_leases(sessions: Sessions) -> None:
    """Have every lease be over now, as if its 47 s had passed: for short forms, which say so.

    Call it only while no worker runs, or a live one is robbed of its claim.
    """
    ago = clock() - timedelta(seconds=1)
    with sessions.begin() as session:
        for table, due in (("poll_batches", "next_poll_at"), ("deliveries", "next_attempt_at")):
            session.execute(
                text(f"UPDATE {table} SET {due} = :ago, leased_until = NULL WHERE leased_until > :ago"),  # noqa: S608 - our own words
                {"ago": ago},
            )
        session.execute(
            text("UPDATE origins SET next_claim_at = :ago WHERE next_claim_at > :ago"), {"ago": ago}
        )
