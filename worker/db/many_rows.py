"""Rows in bulk: one statement on PostgreSQL, however many rows it inserts or changes.

There the rows are one JSON parameter, which the server takes apart: a third of what a statement for each row
costs both sides. A row with a long text is a statement of its own: as a part of one JSON, that text would be
copied up to ten times. SQLite runs in this process, where a statement for each row is the cheapest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import (
    JSON,
    Executable,
    TableValuedAlias,
    Text,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.types import TypeEngine

from worker.db.statements import among, run, table_of
from worker.db.types import UtcDateTime, refuse_naive

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from worker.db.models import Base

# (column, its name in the rows) of what has to be as it was seen; the first of them is the key.
Seen = tuple[tuple[str, str], ...]

LONG = 2**16  # characters of a text from which on it is no part of the JSON


def insert_rows(session: Session, model: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    if not rows:
        return
    if _is_sqlite(session):
        run(session, insert(table_of(model)), rows)
    else:
        run(session, _insert(model, tuple(rows[0])), _as_one(model, rows))


def update_rows(
    session: Session,
    model: type[Base],
    rows: Sequence[Mapping[str, Any]],
    *,
    seen: Seen,
    text: str | None = None,
) -> None:
    """Change rows that all have the same columns, each where every column of `seen` is as its row names it.

    `text` is the column that may be long, if any is. The caller has locked the rows: in which order they are
    changed is the server's choice.
    """
    if rows and _is_sqlite(session):
        run(session, _update_each(model, seen), rows)
        return
    if text is not None:
        for row in (row for row in rows if _is_long(row[text])):  # sent together, they would be held together
            run(session, _update_each(model, seen), row)
        rows = [row for row in rows if not _is_long(row[text])]
    if rows:
        keys = [row[seen[0][1]] for row in rows]
        run(session, _update(model, tuple(rows[0]), seen), {**_as_one(model, rows), "keys": keys})


def _is_long(text: str | None) -> bool:
    return text is not None and len(text) >= LONG


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _as_one(model: type[Base], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    for name in _times(model, tuple(rows[0])):  # the JSON goes past what their type refuses
        for row in rows:
            if row[name] is not None:
                refuse_naive(row[name])
    return {"rows": msgspec.json.encode(rows).decode()}


@cache
def _times(model: type[Base], names: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of `names` that are columns of times."""
    columns = table_of(model).c
    return tuple(name for name in names if name in columns and isinstance(columns[name].type, UtcDateTime))


@cache
def _insert(model: type[Base], names: tuple[str, ...]) -> Executable:
    table = table_of(model)
    given = _given({name: table.c[name].type for name in names})
    return insert(table).from_select(names, select(*(given.c[name] for name in names)))


@cache
def _update(model: type[Base], names: tuple[str, ...], seen: Seen) -> Executable:
    table = table_of(model)
    columns = {name: name for name in names} | {name: one for one, name in seen}
    given = _given({name: table.c[columns[name]].type for name in names})
    changed = [name for name in names if columns[name] == name]
    # The server takes every JSON for a hundred rows; without the keys beside it, it would read all of a table
    # of some thousand rows to change four of them.
    by_key = among(table.c[seen[0][0]], "keys")
    statement = update(table).where(by_key, *(table.c[one] == given.c[name] for one, name in seen))
    return statement.values({name: given.c[name] for name in changed})


@cache
def _update_each(model: type[Base], seen: Seen) -> Executable:
    table = table_of(model)
    return update(table).where(*(table.c[one] == bindparam(name) for one, name in seen))


def _given(types: Mapping[str, TypeEngine[Any]]) -> TableValuedAlias:
    """Return the rows of the parameter as a table with these columns."""
    columns = [column(name, type_) for name, type_ in types.items()]
    rows = func.json_to_recordset(cast(bindparam("rows", type_=Text()), JSON)).table_valued(*columns)
    return rows.render_derived(with_types=True)
