"""The one clock for decisions: the database's.

Workers on several machines disagree about the time; the database they share does not. PostgreSQL is asked
for `clock_timestamp()`, because `now()` stands still inside a transaction. SQLite lives on one machine,
whose clock is read directly.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.db.statements import run_scalars
from worker.db.types import UtcDateTime

_CLOCK = select(func.clock_timestamp(type_=UtcDateTime()))


def read_now(session: Session) -> datetime:
    """Return the database's time, aware UTC. Read once per claim or record and handed down."""
    if session.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC)
    now: datetime = run_scalars(session, _CLOCK).one()
    return now
