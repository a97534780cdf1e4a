"""What all tables share: how constraints are named, what a time is, and an index over some of the rows."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, MetaData, text
from sqlalchemy.orm import DeclarativeBase

from worker.db.types import UtcDateTime

# Names are made from the convention, so that a migration can drop what another made on either database.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """All tables of suno-worker."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime()}  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute


def partial_index(name: str, *columns: str, where: str) -> Index:
    """Return an index of those rows only for which `where` holds: small, whatever else is kept."""
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))
