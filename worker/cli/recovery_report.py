"""What `recover` found and did, for people and for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from worker import recovery
from worker.cli.terminal import Section, at

SHOWN_ORIGINS = 100  # `--json` gives all


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a call was asked for, found, and did."""

    since: datetime
    until: datetime
    origin: str | None
    dry_run: bool
    origins: Mapping[str, int]  # discarded in the range before the call, the most first
    recovered: int = 0

    @property
    def found(self) -> int:
        """Return how many were discarded in the range before the call."""
        return sum(self.origins.values())

    @property
    def left(self) -> int:
        """Return how many are for another call, because one takes 10,000 at most."""
        done = recovery.MOST if self.dry_run else self.recovered
        return max(self.found - done, 0) if done >= recovery.MOST else 0


def recovery_json(done: Recovery) -> dict[str, Any]:
    """Return the keys of `recover --json`."""
    return {
        "since": done.since,
        "until": done.until,
        "origin": done.origin,
        "dry_run": done.dry_run,
        "found": done.found,
        "recovered": done.recovered,
        "left": done.left,
        "origins": [{"origin": origin, "deliveries": number} for origin, number in done.origins.items()],
    }


def summary(done: Recovery) -> str:
    """Return what was done in one line."""
    where = f" of {done.origin}" if done.origin else ""
    between = f"given up from {at(done.since)} to {at(done.until)}"
    if done.dry_run:
        more = f"; one call takes the oldest {recovery.MOST}" if done.left else ""
        return f"{done.found} deliveries{where} were {between}{more}; nothing was changed"
    more = f"; that is the most of one call: call again for the other {done.left}" if done.left else ""
    return f"{done.recovered} deliveries{where} {between} are due now{more}"


def origins_section(done: Recovery) -> Section:
    """Return how many were given up at each origin, the most first."""
    rows = list(done.origins.items())[:SHOWN_ORIGINS]
    cut = "" if len(done.origins) <= len(rows) else f" (the first {len(rows)} of {len(done.origins)})"
    return Section(title=f"Given up{cut}", columns=("origin", "deliveries"), rows=rows)
