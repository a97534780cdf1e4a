"""What a record says of a receiver's breaker: one line when it opens, one when it closes, none between."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.factory import ORIGIN, add_origin
from worker.core.verdicts import Answered, Failed, PostError, PostOutcome
from worker.db.session import Sessions
from worker.health import log_breakers, record_outcomes

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
REFUSED = Failed(error=PostError.REFUSED, detail="")
GOOD = Answered(status_code=200, retry_after=None, excerpt="")
OPENED = f"breaker=opened origin={ORIGIN} failures=5"


@pytest.fixture
def lines(sessions: Sessions, caplog: pytest.LogCaptureFixture) -> Lines:
    """Give an origin that is well, and what records of its outcomes log."""
    with sessions.begin() as session:
        add_origin(session)
    return Lines(sessions, caplog)


class Lines:
    """Records outcomes and returns the lines that this logs."""

    def __init__(self, sessions: Sessions, caplog: pytest.LogCaptureFixture) -> None:
        self._sessions = sessions
        self._caplog = caplog

    def after(self, *outcomes: PostOutcome, at: datetime = NOW) -> list[tuple[str, str]]:
        """Record in one transaction; return level and text of each line."""
        self._caplog.clear()
        with self._caplog.at_level("INFO"):
            with self._sessions.begin() as session:
                changes = record_outcomes(session, outcomes={ORIGIN: outcomes}, most=64, now=at)
                assert self._caplog.records == []  # nothing is said that may still be rolled back
            log_breakers(changes)
        return [(record.levelname, record.getMessage()) for record in self._caplog.records]


def test_an_opening_is_one_warning(lines: Lines) -> None:
    """The fifth failure in a row is told with its numbers; those before and those in flight are not."""
    assert lines.after(*[REFUSED] * 4) == []
    assert lines.after(REFUSED, REFUSED) == [
        ("WARNING", f"{OPENED} openings=1 open_until=2026-11-21T12:00:30+00:00")
    ]
    assert lines.after(*[REFUSED] * 3) == []


def test_a_failed_probe_opens_it_again(lines: Lines) -> None:
    """The next line shows how often it opened in a row and for how long now."""
    lines.after(*[REFUSED] * 5)

    assert lines.after(REFUSED, at=NOW + timedelta(seconds=30)) == [
        ("WARNING", f"{OPENED} openings=2 open_until=2026-11-21T12:01:30+00:00")
    ]


def test_a_closing_is_one_line(lines: Lines) -> None:
    """Any answer of the host closes it, once; an origin that stays well is not mentioned."""
    lines.after(*[REFUSED] * 5)

    assert lines.after(GOOD, at=NOW + timedelta(seconds=31)) == [
        ("INFO", f"breaker=closed origin={ORIGIN} failures=5 openings=1")
    ]
    assert lines.after(GOOD, REFUSED, GOOD, at=NOW + timedelta(seconds=32)) == []


def test_a_closing_and_an_opening_of_one_record_are_an_opening(lines: Lines) -> None:
    """What is told is where the breaker stands after the record."""
    lines.after(*[REFUSED] * 5)
    probing = NOW + timedelta(seconds=30)
    lines.after(REFUSED, at=probing)

    assert lines.after(GOOD, *[REFUSED] * 5, at=probing) == [
        ("WARNING", f"{OPENED} openings=1 open_until=2026-11-21T12:01:00+00:00")
    ]
