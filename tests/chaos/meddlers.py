"""Transactions that write what workers write too, against the order in which workers take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import LiteralString

import psycopg

Connect = Callable[[], psycopg.Connection]

# A worker takes a delivery before its origin, and a poll batch before its gateway.
PAIRS: Sequence[Sequence[LiteralString]] = (
    ("UPDATE origins SET failures = failures", "UPDATE deliveries SET claims = claims"),
    ("UPDATE gateways SET failures = failures", "UPDATE poll_batches SET size = size"),
)


@contextmanager
def meddlers(connect: Connect, *, hold_s: float) -> Iterator[None]:
    """Run them, one after the other for each pair of tables; each holds its rows for so long."""
    stop = Event()
    threads = [Thread(target=meddle, args=(connect, stop, hold_s, pair)) for pair in PAIRS]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def meddle(connect: Connect, stop: Event, hold_s: float, pair: Sequence[LiteralString]) -> None:
    """Write the two tables again and again; what the server ends is begun anew."""
    while not stop.wait(hold_s):
        with suppress(psycopg.OperationalError), connect() as connection:
            for statement in pair:
                connection.execute(statement)
                stop.wait(hold_s)
