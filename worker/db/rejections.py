"""Statements on `rejections`: what was refused, for senders who did not listen."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import insert
from sqlalchemy.orm import Session

from worker.db.models import Rejection

LONGEST_ARGUMENTS = 4096  # characters
LONGEST_REASON = 1000  # characters


def add(session: Session, *, source: str, reason: str, arguments: str, now: datetime) -> None:
    """Write one refusal; long texts are cut."""
    session.execute(
        insert(Rejection).values(
            at=now,
            source=source[:64],
            reason=reason[:LONGEST_REASON],
            arguments=arguments[:LONGEST_ARGUMENTS],
        )
    )
