from __future__ import annotations

import sqlite3
from typing import cast

from sqlalchemy import Engine

from worker.db.session import STATEMENTS_KEPT, make_engine


def prepared_again(engine: Engine, *, others: int) -> bool:
    """Say whether a statement is prepared a second time when so many others came between."""
    prepared: list[object] = []

    def note(*what: object) -> int:
        prepared.append(what)
        return sqlite3.SQLITE_OK

    with engine.connect() as connection:
        driver = cast("sqlite3.Connection", connection.connection.driver_connection)
        driver.set_authorizer(note)  # SQLite asks it whenever it prepares a statement
        driver.execute("SELECT 'again'")
        for number in range(others):
            driver.execute(f"SELECT {number}")
        prepared.clear()
        driver.execute("SELECT 'again'")
        return bool(prepared)


def test_a_connection_keeps_a_bounded_number_of_statements(sqlite_url: str) -> None:
    """What is used often stays prepared, what lists of ids make ever new goes: a worker stays small."""
    engine = make_engine(sqlite_url)
    try:
        assert not prepared_again(engine, others=STATEMENTS_KEPT - 10)
        assert prepared_again(engine, others=STATEMENTS_KEPT)
    finally:
        engine.dispose()
