"""Points in time as a person types them: ISO 8601, a date, or how long ago.

A time without a zone is UTC, and a date is its first moment in UTC: the same words mean the same on every
machine. How long ago is counted from the database's time, so that it fits what the workers wrote.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click

from worker.cli.terminal import one_line

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST_AGO = timedelta(days=36_500)
_AGO = re.compile(r"([0-9]{1,8}) ?([smhdw])(?: ago)?", re.IGNORECASE)


class Moment(click.ParamType[datetime | timedelta]):
    """A point in time: an aware one, or how long ago it was."""

    name = "time"

    def convert(
        self, value: str | datetime | timedelta, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | timedelta:
        """Return what is meant, or end with wrong usage."""
        if not isinstance(value, str):
            return value
        moment = read_moment(value)
        if isinstance(moment, str):
            self.fail(f"{one_line(value, limit=60)!a} {moment}", param, ctx)
        return moment


def read_moment(text: str) -> datetime | timedelta | str:
    """Return a point in time, how long ago it was, or what is wrong with `text`."""
    text = text.strip()
    if text.lower() == "now":
        return timedelta()
    if ago := _AGO.fullmatch(text):
        length = timedelta(**{UNITS[ago[2].lower()]: int(ago[1])})
        return length if length <= LONGEST_AGO else "is more than 100 years ago: try 2h, 30m or 3d"
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return "is no time: try 2026-11-21T08:30 (UTC), 2026-11-21T09:30+01:00, 2026-11-21, 2h (ago) or now"


def at_moment(moment: datetime | timedelta, *, now: datetime) -> datetime:
    """Return the point in time that is meant at `now`."""
    return moment if isinstance(moment, datetime) else now - moment
