"""Feeds the counters with the rows that are new since the last look."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from worker.db import tail
from worker.db.bounded import reading_within
from worker.db.clock import read_now
from worker.db.cursor import PAGE, Cursor, begin
from worker.db.models import Attempt, Rejection, Transition
from worker.db.session import Sessions
from worker.metrics.counters import Counters

PAGE_LIMIT = timedelta(seconds=2)
GOES_ON_FOR_S = 1.0  # one look reads pages for so long; the rest is for the next


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursors:
    """How far each table of events has been read."""

    attempts: Cursor
    transitions: Cursor
    rejections: Cursor


class Events:
    """The events of one database since this was made, or rather since its first look."""

    def __init__(self, *, sessions: Sessions, counters: Counters) -> None:
        self._sessions = sessions
        self._counters = counters
        self._cursors: Cursors | None = None

    def read(self) -> None:
        """Count what is new, page by page, each page in a transaction of its own."""
        end = time.monotonic() + GOES_ON_FOR_S
        while self._read_page() and time.monotonic() < end:
            pass

    def _read_page(self) -> bool:
        """Read a page of each table; say whether there may be more."""
        with reading_within(self._sessions, limit=PAGE_LIMIT) as session:
            if self._cursors is None:
                self._cursors = _begin(session)
                return False
            now = read_now(session)
            attempts = tail.read_attempts(session, self._cursors.attempts, now=now)
            self._counters.take_attempts(attempts)
            transitions = tail.read_transitions(session, self._cursors.transitions, now=now)
            self._counters.take_transitions(transitions)
            refused = tail.count_rejections(session, self._cursors.rejections, now=now)
            self._counters.take_rejections(refused)
        return max(len(attempts), len(transitions), refused) >= PAGE


def _begin(session: Session) -> Cursors:
    return Cursors(
        attempts=begin(session, Attempt),
        transitions=begin(session, Transition),
        rejections=begin(session, Rejection),
    )
