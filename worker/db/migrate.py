"""Bring a database to this version's tables.

The migrations live in the top-level folder `migrations/` of the source and inside the package of a wheel;
both places are looked at, the package first: beside an installed package the folder may be somebody else's.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, text

from worker.db.revisions import missing_in

# Any fixed number serves; it only has to differ from other users of advisory locks in the same database.
MIGRATION_LOCK = 0x73756E6F


def migrations_folder() -> Path:
    """Return the folder of the migrations in a checkout, an editable install or a wheel."""
    package = Path(__file__).parents[1]
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


def upgrade(engine: Engine) -> list[str]:
    """Apply what is missing, in one transaction; return the revisions applied, oldest first.

    Two at once are safe: the second waits for the first and finds nothing to do.
    """
    with engine.begin() as connection:
        lock(connection)
        missing = missing_in(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return missing


def lock(connection: Connection) -> None:
    """Wait for any other migration of this database; the lock ends with the transaction.

    PostgreSQL's advisory lock; on SQLite the transaction holds the write lock already (`BEGIN IMMEDIATE`).
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        # A migration that cannot get a table within 10 s ends, rather than queue every worker behind it.
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))


def downgrade(engine: Engine, *, revision: str) -> None:
    """Take migrations back until `revision` (`base` for none)."""
    with engine.begin() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
