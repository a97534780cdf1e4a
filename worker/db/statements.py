"""Statements in bulk: past the ORM's own machinery, alike on SQLite and PostgreSQL.

On the hot paths a session only holds the transaction: `run` hands its statements to the connection, which
costs a third of `session.execute` for statements that return a few rows of columns. A statement that every
claim or record sends is built once, beside its function, with named parameters: building it anew takes two to
four times as long as the rest of its execution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    Boolean,
    ColumnElement,
    CursorResult,
    Executable,
    Integer,
    ScalarResult,
    Table,
    bindparam,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from worker.db.types import IdList, TextList

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
) -> CursorResult[*tuple[Any, ...]]:
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


class _Among(FunctionElement[bool]):
    """Whether the first argument is one of the second."""

    inherit_cache = True
    type = Boolean()

    def self_group(self, against: object = None) -> Any:  # noqa: ANN401 - SQLAlchemy's own type
        """Stand as it is: as any truth SQLite would be given `… = 1`, and then use no index."""
        del against
        return self


def among(one: Any, name: str) -> ColumnElement[bool]:  # noqa: ANN401 - a column, as the ORM or Core names it
    """Return `one IN (…)` for a list of texts or numbers that is bound to `name` at execution.

    An `IN` spells out its values: each length is another text, to be built, sent and planned anew. This is
    one parameter and one text, whatever the length, so it can stand in a statement that is built once.
    """
    return _Among(one, bindparam(name, type_=IdList() if isinstance(one.type, Integer) else TextList()))


@compiles(_Among, "postgresql")
def _any(element: _Among, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    one, several = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{one} = ANY ({several})"


@compiles(_Among, "sqlite")
def _in_json(element: _Among, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401
    one, several = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{one} IN (SELECT value FROM json_each({several}))"  # noqa: S608 - two rendered clauses
