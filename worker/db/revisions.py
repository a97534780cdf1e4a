"""Say how far a database's tables are, without the tool that makes them.

Every worker asks this at its start, and Alembic with its templates would stay in its memory: 8 MB.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, inspect, text

REVISIONS = ("0001", "0002")  # oldest first; a test holds them to the folder of the migrations


def pending(engine: Engine) -> list[str]:
    """Return the revisions that this database lacks, oldest first; empty when it is up to date or newer.

    A newer version's tables serve the version before it: that is the rule for migrations, and a way back.
    """
    with engine.connect().execution_options(sqlite_begin="DEFERRED") as connection:
        return missing_in(connection)


def unknown(engine: Engine) -> list[str]:
    """Return the database's revisions that this version does not know: a newer version migrated it."""
    with engine.connect().execution_options(sqlite_begin="DEFERRED") as connection:
        return [head for head in _heads(connection) if head not in REVISIONS]


def missing_in(connection: Connection) -> list[str]:
    """Return what `pending` does, by a connection that is there."""
    heads = _heads(connection)
    if not set(heads) <= set(REVISIONS):
        return []
    applied = max((REVISIONS.index(head) + 1 for head in heads), default=0)
    return list(REVISIONS[applied:])


def _heads(connection: Connection) -> list[str]:
    if not inspect(connection).has_table("alembic_version"):
        return []
    return list(connection.scalars(text("SELECT version_num FROM alembic_version")))
