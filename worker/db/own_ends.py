"""Which Suno tasks we ended ourselves, without a word of their gateway."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from worker.core.lifecycle import Status
from worker.db.models import SunoTask
from worker.db.statements import run_scalars


def ended_by_us(session: Session, *, ids: Sequence[int]) -> list[int]:
    """Return those of the rows `ids` that stand in FAILURE with a reason of ours, `worker: …`."""
    ended = select(SunoTask.id).where(
        SunoTask.id.in_(ids),
        SunoTask.status == Status.FAILURE.value,
        SunoTask.fail_reason.startswith("worker: "),
    )
    return list(run_scalars(session, ended))
