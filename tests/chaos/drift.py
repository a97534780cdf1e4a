"""Whether a figure stays where it is: the rule by which memory, descriptors and tables are judged.

The first quarter of the samples is the warm-up and does not count. A figure has grown when the median of the
last quarter is above that of the second by more than a part of it, or by more than what is allowed in any
case. Medians, so that a peak while something is broken says nothing; two quarters that are half a run
apart, so that a leak has half a run to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

FEWEST = 8  # samples: two in each quarter


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """How much a figure may grow: the larger of a part of it and `least`, in its own unit."""

    part: float
    least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Where a figure stood in the second quarter of a run, and where in the last."""

    early: float
    late: float

    def exceeds(self, allowed: Allowed) -> bool:
        """Say whether it grew by more than is allowed."""
        return self.late - self.early > max(self.early * allowed.part, allowed.least)


def drift_of(samples: Sequence[float]) -> Drift:
    """Return how a figure moved; its samples come at even times."""
    if len(samples) < FEWEST:
        raise ValueError(f"{len(samples)} samples say nothing, it takes {FEWEST}")
    quarter = len(samples) // 4
    return Drift(early=median(samples[quarter : 2 * quarter]), late=median(samples[-quarter:]))
