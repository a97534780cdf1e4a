"""Alembic's entry: runs the migrations on the connection it is given, or on the configured database.

A second migration that starts meanwhile waits for the lock, and then finds nothing to do.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from worker.db.migrate import lock
from worker.db.models import Base
from worker.db.session import make_engine


def run(connection: Connection) -> None:
    """Apply the migrations in the one transaction that `connection` is in."""
    lock(connection)
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


def run_offline() -> None:
    """Print the SQL instead of running it (`alembic upgrade head --sql`)."""
    from worker.settings import load_settings  # noqa: PLC0415 - only the command line needs settings

    context.configure(url=load_settings().database_url, target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if context.is_offline_mode():
    run_offline()
elif given is not None:
    run(given)
else:
    from worker.settings import load_settings

    engine = make_engine(load_settings().database_url)
    with engine.begin() as own:
        run(own)
    engine.dispose()
