from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cli.moments import LONGEST_AGO, at_moment, read_moment

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T08:30", datetime(2026, 11, 21, 8, 30, tzinfo=UTC)),
        ("2026-11-21 08:30:15", datetime(2026, 11, 21, 8, 30, 15, tzinfo=UTC)),
        ("2026-11-21T08:30Z", datetime(2026, 11, 21, 8, 30, tzinfo=UTC)),
        ("2026-11-21T08:30:00.5+01:00", datetime(2026, 11, 21, 7, 30, 0, 500_000, tzinfo=UTC)),
        ("2026-11-21", datetime(2026, 11, 21, tzinfo=UTC)),
        ("now", NOW),
        ("NOW", NOW),
        ("0s", NOW),
        ("90s", NOW - timedelta(seconds=90)),
        ("30m", NOW - timedelta(minutes=30)),
        ("2h", NOW - timedelta(hours=2)),
        (" 2 H ago ", NOW - timedelta(hours=2)),
        ("3d", NOW - timedelta(days=3)),
        ("1w", NOW - timedelta(days=7)),
        ("36500d", NOW - LONGEST_AGO),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, moment: datetime) -> None:
    """ISO 8601 with a zone or in UTC, a date's first moment, how long ago, or now; always aware UTC."""
    found = read_moment(text)

    assert not isinstance(found, str)
    assert at_moment(found, now=NOW) == moment
    assert at_moment(found, now=NOW).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2",
        "-2h",
        "2.5h",
        "2y",
        "08:30",
        "21.11.2026",
        "2026-02-30",
        "2026-11-21T25:00",
        "2026-11-21T08:30+99:00",
        "0001-01-01T00:00+10:00",
        "1795299471",
        "٢h",
        "2\x1bh",
        "999999999999h",
    ],
)
def test_what_is_no_time_says_what_one_looks_like(text: str) -> None:
    """No guessing, no exception: one sentence with an example of each kind."""
    wrong = read_moment(text)

    assert isinstance(wrong, str)
    assert wrong.startswith("is no time: try 2026-11-21T08:30 (UTC), ")


@pytest.mark.parametrize("text", ["36501d", "99999999w"])
def test_longer_ago_than_a_century_is_a_mistake(text: str) -> None:
    """Beyond it lies no webhook, and soon no calendar."""
    assert read_moment(text) == "is more than 100 years ago: try 2h, 30m or 3d"


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever is typed, the answer is a time or a sentence."""
    assert isinstance(read_moment(text), datetime | timedelta | str)


@given(st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.timezones()))  # noqa: DTZ001 - Hypothesis asks for it
def test_what_was_printed_in_iso_reads_back(moment: datetime) -> None:
    """Any time in any zone that Python writes is the same instant, also in the hour that comes twice."""
    assert read_moment(moment.isoformat()) == moment.astimezone(UTC)
