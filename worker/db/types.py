"""Column types that read the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import ARRAY, BigInteger, DateTime, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator, TypeEngine


def refuse_naive(value: datetime) -> None:
    """Raise ValueError for a time without a zone: it would be a different instant on each machine."""
    if value.tzinfo is None:
        raise ValueError(f"a time without a zone cannot be stored: {value!r}")


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware UTC in Python, `timestamptz` on PostgreSQL, sortable text on SQLite.

    SQLite has no time zones, so what is stored there is naive UTC with six decimals; a naive value from
    Python is refused.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware time into what the database stores."""
        if value is None:
            return None
        refuse_naive(value)
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn what the database stores into aware UTC."""
        del dialect
        if value is None or value.tzinfo is UTC:
            return value
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _List(TypeDecorator[list[Any]]):
    """Values in one parameter, asked with `statements.among`: an array on PostgreSQL, JSON on SQLite."""

    impl = Text
    cache_ok = True
    _item: TypeEngine[Any]

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's own type."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(self._item))

    def process_bind_param(self, value: list[Any] | None, dialect: Dialect) -> Any:  # noqa: ANN401 - the driver's
        """Turn the list into what the driver takes."""
        return msgspec.json.encode(value).decode() if dialect.name == "sqlite" else value


class TextList(_List):
    """Texts in one parameter."""

    cache_ok = True
    _item = Text()


class IdList(_List):
    """Numbers of rows in one parameter."""

    cache_ok = True
    _item = BigInteger()


# An origin's name, compared byte by byte on both databases: rows are locked in the order of their names, and
# that must be one order for Python's `sorted` and for every ORDER BY, whatever the server's own collation is.
OriginName: TypeEngine[str] = Text().with_variant(Text(collation="C"), "postgresql")

# SQLite gives a rowid alias, and so an automatic number, only to a column of type INTEGER.
RowId: TypeEngine[Any] = BigInteger().with_variant(Integer(), "sqlite")
