"""Reads rows that are only ever added, once each, by the numbers that they are given.

What is new is found by one look at the primary key, however much is kept. On PostgreSQL numbers are given
before the commit: a row may appear behind one with a greater number. Missing numbers are therefore remembered
for some minutes and asked for again; a transaction that was rolled back leaves one for good. What commits
later than that is never seen.

Limit: SQLite gives the greatest number again when its row was deleted. That happens to rows past their
retention only, and costs at most a few rows of a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from worker.db.models import Attempt, Rejection, Transition
from worker.db.statements import run, run_scalars

PAGE = 1_000  # rows of one look
GAPS_KEPT_FOR = timedelta(minutes=5)
MOST_GAPS = 1_000


@dataclass(slots=True)
class Cursor:
    """How far a table has been read, and which smaller numbers were missing when we came by."""

    high: int
    gaps: dict[int, datetime] = field(default_factory=dict)

    def pass_over(self, ids: Sequence[int], *, now: datetime) -> None:
        """Note that the rows of these numbers were read."""
        for number in sorted(ids):
            if number > self.high:
                missing = range(max(self.high + 1, number - MOST_GAPS), number)
                self.gaps.update(dict.fromkeys(missing, now))
                self.high = number
            else:
                self.gaps.pop(number, None)
        kept = [(number, at) for number, at in self.gaps.items() if now - at <= GAPS_KEPT_FOR]
        self.gaps = dict(kept[-MOST_GAPS:])


def begin(session: Session, model: type[Attempt | Transition | Rejection]) -> Cursor:
    """Return a cursor behind the newest row: what came before is not counted."""
    return Cursor(high=run_scalars(session, select(func.max(model.id))).one() or 0)


def read_new(
    session: Session,
    cursor: Cursor,
    statement: Select[*tuple[Any, ...]],
    *,
    key: InstrumentedAttribute[int],
    now: datetime,
) -> list[Row[*tuple[Any, ...]]]:
    """Return the rows behind the cursor and those that came late, at most a page of each."""
    rows = _rows(session, statement, key > cursor.high, key=key)
    late = _rows(session, statement, key.in_(cursor.gaps), key=key) if cursor.gaps else []
    if not rows:
        cursor.high = min(cursor.high, run_scalars(session, select(func.max(key))).one() or 0)
    cursor.pass_over([row.id for row in (*late, *rows)], now=now)
    return [*late, *rows]


def _rows(
    session: Session,
    statement: Select[*tuple[Any, ...]],
    which: ColumnElement[bool],
    *,
    key: InstrumentedAttribute[int],
) -> list[Row[*tuple[Any, ...]]]:
    return list(run(session, statement.where(which).order_by(key).limit(PAGE)).all())
