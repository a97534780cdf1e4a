"""The migrations make the tables that the models describe, on both databases, up and down."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, inspect, text

from tests.servers import PostgresServer
from worker.db import migrate, revisions
from worker.db.models import Base
from worker.db.session import make_engine


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = f"empty_{tmp_path.name.lower().replace('-', '_')[-40:]}"
    server.create_database(name)
    return server.url(name)


def tables(engine: Engine) -> set[str]:
    """Return the names of the tables that are there."""
    return set(inspect(engine).get_table_names())


def test_models_and_migrations_describe_the_same_tables(engine: Engine) -> None:
    """A model that changes without a migration fails here."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_partial_indexes_are_partial(engine: Engine) -> None:
    """Every index that the models call partial has its condition in the database."""
    for table in Base.metadata.tables.values():
        partial = {
            index.name
            for index in table.indexes
            if index.dialect_options[engine.dialect.name].get("where") is not None
        }
        found = {
            index["name"]
            for index in inspect(engine).get_indexes(table.name)
            if index.get("dialect_options", {}).get(f"{engine.dialect.name}_where") is not None
        }
        assert found == partial


def test_up_and_down_leave_nothing_behind(empty: str) -> None:
    """A migration can be taken back and applied again."""
    engine = make_engine(empty)
    assert revisions.pending(engine) == ["0001", "0002"]
    assert migrate.upgrade(engine) == ["0001", "0002"]
    assert tables(engine) == {*Base.metadata.tables, "alembic_version"}
    assert revisions.pending(engine) == []
    migrate.downgrade(engine, revision="base")
    assert tables(engine) == {"alembic_version"}
    assert migrate.upgrade(engine) == ["0001", "0002"]
    engine.dispose()


def test_two_migrations_at_once_apply_each_revision_once(empty: str) -> None:
    """The second waits for the first and finds nothing to do."""
    applied: list[list[str]] = []
    barrier = threading.Barrier(2)

    def run() -> None:
        engine = make_engine(empty)
        barrier.wait()
        applied.append(migrate.upgrade(engine))
        engine.dispose()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied) == [[], ["0001", "0002"]]


def test_the_revisions_are_those_of_the_folder() -> None:
    """Each follows the one before it: two branches of migrations would leave the order to chance."""
    config = Config()
    config.set_main_option("script_location", str(migrate.migrations_folder()))
    script = ScriptDirectory.from_config(config)

    assert len(script.get_heads()) == 1
    assert [one.revision for one in script.walk_revisions()] == list(reversed(revisions.REVISIONS))


def test_a_database_half_way_lacks_the_rest(empty: str) -> None:
    """What is pending are the revisions after the database's own."""
    engine = make_engine(empty)
    migrate.upgrade(engine)
    migrate.downgrade(engine, revision="0001")

    assert revisions.pending(engine) == ["0002"]
    engine.dispose()


def test_a_worker_carries_no_alembic() -> None:
    """What a worker imports, its check at the start included, leaves 8 MB of another tool's memory alone."""
    program = "import sys, worker.tasks, worker.process; sys.exit('alembic' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_newer_database_is_told_apart(engine: Engine) -> None:
    """A revision that this version does not know is named, so that `check` can say so."""
    assert revisions.unknown(engine) == []
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'from_the_future'"))
    assert revisions.unknown(engine) == ["from_the_future"]
    assert revisions.pending(engine) == []  # a worker of the version before starts
