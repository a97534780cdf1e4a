"""When a stream's next claim is worth its statement, by what the last one said."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")

LOOK_EVERY_S = 1.0  # how often a run looks for newly due rows while it waits for answers; Beat's tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Generic[Item]):
    """What a claim took.

    `more`: it did not take all that it might, so freed slots are worth another look. `held_back`: of each
    peer that it looked at, whether its own limit lets no more of what is due through; then no look sees it
    before one of its calls is recorded. `leaves_some`: another process with free slots might take some of
    what is left. `due_in`: how long until what is not due yet will be; None where nobody can say.
    """

    items: Sequence[Item]
    more: bool
    due_in: timedelta | None = None
    held_back: Mapping[str, bool] = field(default_factory=dict)
    leaves_some: bool = False


@dataclass(slots=True)
class Looks:
    """When the next claim is to be made, in seconds of the monotonic clock."""

    at: float = 0.0
    due_at: float = math.inf
    more: bool = False

    @property
    def expect_more(self) -> bool:
        """Whether a run with nothing in flight has something to wait for."""
        return self.more or self.due_at <= self.at

    def learn(self, claimed: Claimed[Any], *, now: float, in_flight: int) -> None:
        """Take in what a claim that began at `now` said."""
        took = bool(claimed.items)
        # What was left for want of slots is left until a call of ours ends.
        self.more = claimed.more or (self.more and not took and in_flight > 0)
        # What was waited for and is still not due, or another's by now, is not waited for again.
        due_in = claimed.due_in if took or now < self.due_at else None
        self.due_at = math.inf if due_in is None else time.monotonic() + due_in.total_seconds()
        # While a claim takes something and may take more, the next one follows at once.
        at_once = took and self.more
        self.at = now if at_once else min(self.due_at, now + LOOK_EVERY_S)
