"""The one clock for decisions: the database's.

Workers on several machines disagree about the time; the database they share does not. PostgreSQL is asked
for `clock_timestamp()`, because `now()` stands still inside a transaction. SQLite lives on one machine,
whose clock is read directly; `wall_clock` says what happens when somebody sets it.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from worker.db.session import CLOCK
from worker.db.statements import run_scalars
from worker.db.types import UtcDateTime
from worker.db.wall_clock import WallClock

SERVERS_CLOCK = select(func.clock_timestamp(type_=UtcDateTime()))


def read_now(session: Session) -> datetime:
    """Return the database's time, aware UTC. Read once per claim or record and handed down."""
    if session.get_bind().dialect.name == "sqlite":
        return cast("WallClock", session.connection().info[CLOCK]).now()
    now: datetime = run_scalars(session, SERVERS_CLOCK).one()
    return now
