"""How much of a fault is done, and what a fault is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from tests.chaos.table import Row
from tests.chaos.world import World

SHORT_PATIENCE = 4  # times as long as in the long form


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is done. `short`: as one of the tests, so leases may be ended by SQL; the row then says so."""

    seed: int
    rounds: int
    end: float  # monotonic seconds: no round but the first begins after it
    short: bool = False

    def random(self, *names: object) -> Random:
        """Return the chance of one part of the run: the same for the same seed and names."""
        return Random(" ".join(map(str, (self.seed, *names))))  # noqa: S311 - to be repeated

    def allows(self, seconds: float, *, within_s: float) -> bool:
        """Say whether a recovery was quick enough.

        The long form judges times. The short one is a test among others on any machine, where only what has
        stopped for good is wrong.
        """
        return seconds <= (SHORT_PATIENCE * within_s if self.short else within_s)

    def is_over(self, *, done: int) -> bool:
        """Say whether no further round is to begin."""
        return done >= self.rounds or (done > 0 and time.monotonic() >= self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One line of the list. `run` breaks it on a world of its own and returns what that cost.

    `rounds` and `minutes` bound the long form, `short_rounds` the one that is part of the tests; 0: none.
    """

    meaning: str
    run: Callable[[World, Plan], Sequence[Row]]
    rounds: int
    minutes: float
    short_rounds: int
    databases: Sequence[str] = ("sqlite", "postgresql")
