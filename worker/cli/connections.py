"""The database and the broker as a verb opens them: at once, bounded in time, and closed at its end.

A place is shown without its password, and without the query part of its URL, which may hide another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import click
from redis import Redis
from sqlalchemy import make_url

from worker import dead_letters
from worker.cli.terminal import printable
from worker.db.session import GONE_AFTER, Sessions, make_engine, make_sessions
from worker.settings import Settings

MIGRATE = "run `suno-worker migrate` (or `suno-worker up`, which migrates first)"


@contextmanager
def open_database(
    settings: Settings, *, create: bool = False, gone_after: timedelta = GONE_AFTER
) -> Iterator[Sessions]:
    """Give sessions on the configured database; a missing SQLite file is made only with `create`.

    A PostgreSQL of which nothing is heard for `gone_after` is gone.
    """
    url = settings.database_url
    missing = missing_file(url)
    if missing is not None:
        if not create:
            raise click.ClickException(f"there is no database at {printable(missing)}: {MIGRATE}")
        make_file(missing)
    engine = make_engine(url, gone_after=gone_after)
    try:
        yield make_sessions(engine)
    finally:
        engine.dispose()


@contextmanager
def open_broker(settings: Settings) -> Iterator[Redis]:
    """Give a client of the broker: the configured one, else that of a running `up`; waits 5 s at most."""
    url = settings.resolve_broker_url()
    if url is None:
        raise click.ClickException("no broker is known: set WORKER_BROKER_URL, or start `suno-worker up`")
    try:
        client = dead_letters.connect(url)
        client.ping()
    except (
        ValueError,
        TypeError,
    ) as error:  # the part after `?` goes to the driver, which judges it only now
        raise click.ClickException(
            "WORKER_BROKER_URL has options after ? that make no sense: give redis://:PASSWORD@HOST:6379/0"
        ) from error
    with closing(client):
        yield client


def missing_file(url: str) -> Path | None:
    """Return the absolute path of the SQLite file that `url` names when there is none yet; else None."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    path = Path(parsed.database).absolute()
    return None if path.exists() else path


def make_file(path: Path) -> None:
    """Make the empty file of an SQLite database, mode 0600; what SQLite puts beside it gets the same.

    It will hold hooks, some with tokens in them, and every result. Where no file can be made, SQLite says so.
    """
    with suppress(OSError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def database_place(settings: Settings) -> str:
    """Return where the database is, as an operator knows it."""
    parsed = make_url(settings.database_url)
    if parsed.get_backend_name() == "sqlite":
        return printable(f"SQLite file {Path(parsed.database or ':memory:').absolute()}")
    port = f":{parsed.port}" if parsed.port else ""
    return printable(f"PostgreSQL {parsed.database} at {parsed.host or 'the local socket'}{port}")
