"""The one statement that SQLite and PostgreSQL spell alike but SQLAlchemy keeps in two places."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from worker.db.models import Base


def table_of(model: type[Base]) -> Table:
    """Return the table behind `model`, for Core statements in bulk."""
    return cast("Table", model.__table__)


def upsert(session: Session, model: type[Base]) -> postgresql.Insert:
    """Return an INSERT into `model` that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if session.get_bind().dialect.name == "sqlite":
        return cast("postgresql.Insert", sqlite.insert(table_of(model)))
    return postgresql.insert(table_of(model))
