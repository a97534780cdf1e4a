from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from sqlalchemy import Engine, create_engine, inspect, select, text

from tests.cli.conftest import HUB, Cli
from worker.db.migrate import downgrade
from worker.db.models import Gateway
from worker.db.revisions import pending
from worker.db.session import Sessions


def test_a_file_is_made_and_filled(bare_cli: Cli, folder: Path) -> None:
    """With nothing configured, `migrate` makes `worker.db` here; a second run finds nothing to do."""
    first, second = bare_cli("migrate"), bare_cli("migrate")

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.stdout.startswith(f"SQLite file {folder}/worker.db: applied ")
    assert second.stdout == f"SQLite file {folder}/worker.db: nothing to do\n"
    assert bare_cli("status").exit_code == 0


def test_machines_read_what_was_applied(bare_cli: Cli, folder: Path) -> None:
    """`migrate --json` names the database and the migrations that it applied."""
    first, second = bare_cli("migrate", "--json"), bare_cli("migrate", "--json")

    place = f"SQLite file {folder}/worker.db"
    applied = json.loads(first.stdout)["applied"]
    assert applied
    assert json.loads(first.stdout) == {"database": place, "applied": applied, "newer": []}
    assert json.loads(second.stdout) == {"database": place, "applied": [], "newer": []}


def test_a_new_file_is_its_owners_alone(bare_cli: Cli, folder: Path) -> None:
    """A file that `migrate` makes has mode 0600, and so has what SQLite puts beside it: hooks may hold
    tokens. One that is there already keeps its mode.
    """
    file = folder / "worker.db"
    earlier = os.umask(0o022)
    try:
        assert bare_cli("migrate").exit_code == 0
        with create_engine(f"sqlite:///{file}").connect() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = version_num"))
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()}
    finally:
        os.umask(earlier)
    assert modes == {"worker.db": 0o600, "worker.db-wal": 0o600, "worker.db-shm": 0o600}

    file.chmod(0o640)
    assert bare_cli("migrate").exit_code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_missing_folder_is_named(bare_cli: Cli, folder: Path) -> None:
    """In a folder that is not there no file can be made: one line says what to do."""
    result = bare_cli("migrate", env={"WORKER_DATABASE_URL": "sqlite:///data/worker.db"})

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: SQLite file {folder}/data/worker.db: unable to open database file: "
        "create its folder, and make it writable for this user\n"
    )


def test_an_empty_database_gets_its_tables(cli: Cli, engine: Engine) -> None:
    """`migrate` applies what is missing on either database."""
    downgrade(engine, revision="base")

    result = cli("migrate")

    assert (result.exit_code, result.stderr) == (0, "")
    assert pending(engine) == []
    assert "suno_tasks" in inspect(engine).get_table_names()


def test_the_configured_gateways_are_noted(cli: Cli, sessions: Sessions) -> None:
    """`migrate` makes the gateways known to senders that only share the database."""
    env = {"WORKER_GATEWAYS__HUB__BATCH_SIZE": "7"} | {
        name.replace("HUB", "OTHER"): value for name, value in HUB.items()
    }

    cli("migrate", env=env)

    with sessions() as session:
        assert dict(session.execute(select(Gateway.name, Gateway.batch_size)).all()) == {
            "hub": 7,
            "other": 100,
        }


def test_a_newer_database_is_left_as_it_is(cli: Cli, engine: Engine) -> None:
    """After a way back to the version before `migrate` changes nothing and fails nobody."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    result = cli("migrate")

    assert (result.exit_code, result.stderr) == (0, "")
    assert "migrated by a newer version (9999), whose tables serve the one before it" in result.stdout
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"


def test_only_migrate_makes_a_file(bare_cli: Cli, folder: Path) -> None:
    """A verb that finds no SQLite file says so and leaves none behind."""
    for arguments in (["status"], ["show", "x"], ["enqueue", "x", "--action", "MUSIC"], ["rejections"]):
        result = bare_cli(*arguments)

        assert result.exit_code == 1
        assert result.stderr == (
            f"Error: there is no database at {folder}/worker.db: "
            "run `suno-worker migrate` (or `suno-worker up`, which migrates first)\n"
        )
    assert list(folder.iterdir()) == []


def test_a_file_without_tables_says_migrate(bare_cli: Cli, folder: Path) -> None:
    """An SQLite file that was never migrated names the verb that does it."""
    create_engine(f"sqlite:///{folder}/worker.db").connect().close()
    (folder / "worker.db").touch()

    result = bare_cli("status")

    assert result.exit_code == 1
    assert "no such table" in result.stderr
    assert result.stderr.endswith("run `suno-worker migrate` (or `suno-worker up`, which migrates first)\n")
