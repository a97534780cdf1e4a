"""A refused Suno task is moved out of its batch by the one who holds the batch, or not at all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.factory import NOW, add_batch, add_gateway, add_task
from worker.db import suno_tasks
from worker.db.models import PollBatch, SunoTask
from worker.db.own_ends import ended_by_us
from worker.db.poll_batches import Lease
from worker.db.refused import move_apart
from worker.db.session import Sessions

LATER = NOW + timedelta(minutes=5)


def batches(sessions: Sessions) -> dict[int, bool]:
    """Return which batches there are, and which of them are alone."""
    with sessions() as session:
        return {row.id: row.alone for row in session.scalars(select(PollBatch))}


@pytest.mark.parametrize("change", ["moved", "ended", None])
def test_only_a_task_that_is_still_in_the_batch_is_moved(sessions: Sessions, change: str | None) -> None:
    """One that has ended or belongs elsewhere stays as it is, and no empty batch is left behind."""
    with sessions.begin() as session:
        add_gateway(session)
        elsewhere = add_batch(session, next_poll_at=LATER)
        own = add_batch(session)
        row_id = add_task(session, task_id="a", poll_batch_id=own)
        lease = Lease(
            batch_id=own,
            gateway="hub",
            action="MUSIC",
            claims=1,
            youngest_at=NOW,
            leased_until=LATER,
            alone=False,
        )
        (watched,) = suno_tasks.of_batches(session, batch_ids=[own])[own]
    with sessions.begin() as session:
        task = session.get_one(SunoTask, row_id)
        if change == "moved":
            task.poll_batch_id = elsewhere
        elif change == "ended":
            task.status, task.finished_at, task.poll_batch_id = "FAILURE", NOW, None
        session.flush()
        has_moved = move_apart(session, lease=lease, watched=watched, next_poll_at=LATER)

    with sessions() as session:
        now_in = session.get_one(SunoTask, row_id).poll_batch_id
        size = session.scalars(select(PollBatch.size).where(PollBatch.id == own)).one()
    left = batches(sessions)
    assert size == (0 if change is None else 1)  # who ended or moved it otherwise has to write it
    if change is None:
        assert now_in is not None
        assert (has_moved, left) == (True, {elsewhere: False, own: False, now_in: True})
    else:
        assert (has_moved, left) == (False, {elsewhere: False, own: False})
        assert now_in == (elsewhere if change == "moved" else None)


def test_our_own_ends_are_told_from_the_gateways(sessions: Sessions) -> None:
    """By the reason that only we write; a gateway's failure and a pending task are not ours."""
    with sessions.begin() as session:
        add_gateway(session)
        ours = add_task(session, status="FAILURE", fail_reason="worker: lost: x")
        theirs = add_task(session, status="FAILURE", fail_reason="worker failed")
        pending = add_task(session, fail_reason="worker: x")

        assert ended_by_us(session, ids=[ours, theirs, pending]) == [ours]
        assert ended_by_us(session, ids=[]) == []
