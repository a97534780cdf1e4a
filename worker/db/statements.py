"""Statements in bulk: past the ORM's own machinery, alike on SQLite and PostgreSQL.

On the hot paths a session only holds the transaction: `run` hands its statements to the connection, which
costs a third of `session.execute` for statements that return a few rows of columns. A statement that every
claim or record sends is built once, beside its function, with named parameters: building it anew takes two to
four times as long as the rest of its execution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import CursorResult, Executable, ScalarResult, Table
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from worker.db.models import Base


def table_of(model: type[Base]) -> Table:
    """Return the table behind `model`, for Core statements in bulk."""
    return cast("Table", model.__table__)


def run(
    session: Session,
    statement: Executable,
    parameters: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
) -> CursorResult[Any]:
    """Execute a statement about columns, not entities, in the session's transaction."""
    return session.connection().execute(statement, parameters)


def run_scalars(
    session: Session, statement: Executable, parameters: Mapping[str, Any] | None = None
) -> ScalarResult[Any]:
    """Execute a statement that returns one column."""
    return run(session, statement, parameters).scalars()


def upsert(session: Session, model: type[Base]) -> postgresql.Insert:
    """Return an INSERT into `model` that knows `on_conflict_do_nothing` and `on_conflict_do_update`."""
    if session.get_bind().dialect.name == "sqlite":
        return cast("postgresql.Insert", sqlite.insert(table_of(model)))
    return postgresql.insert(table_of(model))
