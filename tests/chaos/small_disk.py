"""Have a SQLite file find its disk full, or itself read-only, for as long as a word says so.

As a program: `python -m tests.chaos.small_disk FILE ARGUMENTS` runs `celery ARGUMENTS`, and FILE holds the
word. SQLite itself refuses: every connection is told before each transaction that its file may not grow, or
not be written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, Engine, event

MANY_PAGES = 4_294_967_294  # SQLite's own most


class Disk(StrEnum):
    """What is there for a SQLite file."""

    ROOM = "room"
    FULL = "full"  # it may not grow; pages that are free in it are still used
    READ_ONLY = "read-only"


@contextmanager
def small_disk(disk: Callable[[], Disk], *, pages: Callable[[], int] = lambda: 1) -> Iterator[None]:
    """Have every SQLite connection of this process find what `disk` says; FULL: no more than `pages`."""

    def prepare(connection: Connection) -> None:
        if connection.dialect.name != "sqlite":
            return
        found = disk()
        driver = connection.connection.dbapi_connection
        assert driver is not None
        most = pages() if found is Disk.FULL else MANY_PAGES
        driver.cursor().execute(
            f"PRAGMA max_page_count = {most}"
        )  # less than there are: as many as there are
        driver.cursor().execute(f"PRAGMA query_only = {int(found is Disk.READ_ONLY)}")

    event.listen(Engine, "begin", prepare)
    try:
        yield
    finally:
        event.remove(Engine, "begin", prepare)


def main() -> None:
    """Run Celery's own command line on such a disk."""
    file = Path(sys.argv.pop(1))
    from celery.__main__ import main as celery  # noqa: PLC0415 - it reads the command line

    with small_disk(lambda: Disk(file.read_text() or Disk.ROOM)):
        celery()


if __name__ == "__main__":
    main()
