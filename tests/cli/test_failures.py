from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import psycopg
import pytest
from redis import AuthenticationError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from tests.cli.conftest import Cli
from tests.servers import PostgresServer
from worker.cli.failures import explain

PASSWORD = "hunter2"


def enters(server: PostgresServer, *, user: str) -> bool:
    """Return whether the server lets `user` in with a wrong password."""
    try:
        psycopg.connect(host=str(server.folder), user=user, password=PASSWORD, dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("verb", [["status"], ["migrate"], ["enqueue", "x", "--action", "MUSIC"]])
def test_broken_settings_are_told_together(bare_cli: Cli, verb: list[str]) -> None:
    """Each wrong variable has its line on stderr, exit code 1, and no secret is shown."""
    env = {
        "WORKER_DATABASE_URL": f"mysql://root:{PASSWORD}@localhost/x",
        "WORKER_POLL_INTERVAL": "soon",
        "WORKER_GATEWAYS__HUB__API_KEY": PASSWORD,
    }

    result = bare_cli(*verb, env=env)

    assert (result.exit_code, result.stdout) == (1, "")
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    for name in ("WORKER_DATABASE_URL", "WORKER_POLL_INTERVAL", "WORKER_GATEWAYS__HUB__BASE_URL"):
        assert sum(name in line for line in lines) == 1
    assert PASSWORD not in result.stderr


@pytest.mark.parametrize("verb", ["migrate", "status"])
def test_a_folder_that_cannot_be_written_is_told(bare_cli: Cli, verb: str) -> None:
    """An SQLite path where nothing can be made is one line with the path; `/proc` refuses root, too."""
    result = bare_cli(verb, env={"WORKER_DATABASE_URL": "sqlite:////proc/suno/worker.db"})

    assert (result.exit_code, result.stdout) == (1, "")
    assert "/proc/suno/worker.db" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_file_of_another_kind_is_told(bare_cli: Cli, folder: Path) -> None:
    """A path that is no SQLite database is one line that names it, and the file stays as it is."""
    (folder / "worker.db").write_bytes(b"a song, not a database" * 100)

    result = bare_cli("status")

    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: SQLite file {folder}/worker.db: file is not a database: "
        "WORKER_DATABASE_URL names a file of another kind\n"
    )
    assert (folder / "worker.db").read_bytes() == b"a song, not a database" * 100


def test_an_unreachable_postgresql_is_told(bare_cli: Cli) -> None:
    """Nobody listens: one line with host, port and name, without the password."""
    url = f"postgresql+psycopg://worker:{PASSWORD}@127.0.0.1:1/songs"

    result = bare_cli("status", env={"WORKER_DATABASE_URL": url})

    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: PostgreSQL songs at 127.0.0.1:1: ")
    assert result.stderr.endswith("; check that it runs, and WORKER_DATABASE_URL\n")
    assert result.stderr.count("\n") == 1
    assert PASSWORD not in result.stderr


def test_a_wrong_password_is_told(bare_cli: Cli, postgres_server: PostgresServer) -> None:
    """PostgreSQL's own word about the password is shown, the password is not."""
    rules = postgres_server.folder / "data" / "pg_hba.conf"
    rules.write_text("local all locked scram-sha-256\n" + rules.read_text())
    admin = create_engine(postgres_server.url(), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE ROLE locked LOGIN PASSWORD 'right'"))
        connection.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()
    url = postgres_server.url().replace("postgres@", f"locked:{PASSWORD}@")
    while enters(postgres_server, user="locked"):  # until the server has read its rules again
        pass

    result = bare_cli("status", env={"WORKER_DATABASE_URL": url})

    assert (result.exit_code, result.stdout) == (1, "")
    assert 'password authentication failed for user "locked"' in result.stderr
    assert result.stderr.count("\n") == 1
    assert PASSWORD not in result.stderr


def test_a_postgresql_without_tables_says_migrate(bare_cli: Cli, postgres_server: PostgresServer) -> None:
    """A database that was never migrated names the verb that does it."""
    result = bare_cli("status", env={"WORKER_DATABASE_URL": postgres_server.url()})

    assert result.exit_code == 1
    assert result.stderr == (
        "Error: the tables of PostgreSQL postgres at the local socket are not this version's: "
        "run `suno-worker migrate` (or `suno-worker up`, which migrates first)\n"
    )


def test_a_database_that_does_not_exist_is_told(bare_cli: Cli, postgres_server: PostgresServer) -> None:
    """PostgreSQL's own word about the missing database is shown on one line."""
    result = bare_cli("migrate", env={"WORKER_DATABASE_URL": postgres_server.url("nowhere")})

    assert result.exit_code == 1
    assert 'database "nowhere" does not exist' in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_locked_file_says_try_again() -> None:
    """SQLite's lock, after its waits, is explained as another writer."""
    error = OperationalError("BEGIN IMMEDIATE", None, sqlite3.OperationalError("database is locked"))

    why = explain(error)

    assert why is not None
    assert why.endswith("database is locked: another process has been writing for more than 20 s; try again")


def test_a_statement_and_its_values_are_never_shown() -> None:
    """Of a database's error only the driver's own message is told."""
    orig = psycopg.OperationalError("the connection is closed\n\tLINE 1: …")

    why = explain(OperationalError("INSERT INTO t VALUES (:v)", {"v": PASSWORD}, orig))

    assert why is not None
    assert "the connection is closed LINE 1: …" in why
    assert PASSWORD not in why
    assert "INSERT" not in why


def test_a_pool_without_a_free_connection_is_told() -> None:
    """What is SQLAlchemy's own failure and no driver's is one line too."""
    why = explain(PoolTimeoutError("QueuePool limit of size 20 overflow 0 reached"))

    assert why is not None
    assert why.startswith("the database cannot be used: QueuePool limit of size 20 overflow 0 reached")
    assert why.endswith("; check WORKER_DATABASE_URL")


def test_a_refused_broker_password_is_told() -> None:
    """The broker's refusal names the variable."""
    why = explain(AuthenticationError("invalid username-password pair or user is disabled."))

    assert why is not None
    assert why.startswith("the broker refuses the password in WORKER_BROKER_URL: ")


def test_what_nobody_expected_is_not_explained() -> None:
    """A mistake of ours keeps its traceback."""
    assert explain(KeyError("x")) is None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/root/x"),
            "Permission denied: /root/x: let this user do that, or choose another place",
        ),
        (
            OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"),
            "Cannot assign requested address: choose an address of this machine",
        ),
        (OSError(errno.EIO, "Input/output error"), "Input/output error: mend that, and try again"),
        (OSError("odd\x1b[2J"), "odd\\x1b[2J: mend that, and try again"),
    ],
)
def test_what_the_system_refuses_says_what_to_do(error: OSError, line: str) -> None:
    """Whatever the operating system refuses is one line with advice, and no control character."""
    assert explain(error) == line
