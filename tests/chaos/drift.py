"""Whether a figure stays where it is: the rule by which memory, descriptors and tables are judged.

The first quarter of the samples is the warm-up and does not count, nor do those before all is as full as it
gets. A figure has grown when the median of the last third of the others is above that of the first by more
than a part of it, or by more than what is allowed in any case. Medians, so that a peak while something is
broken says nothing; in a long run the two thirds are half of it apart, so that a leak has so long to show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

FEWEST = 6  # samples after the warm-up: two in each third


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """How much a figure may grow: the larger of a part of it and `least`, in its own unit."""

    part: float
    least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Where a figure stood when the warm-up was over, and where in the end."""

    early: float
    late: float

    def exceeds(self, allowed: Allowed) -> bool:
        """Say whether it grew by more than is allowed."""
        return self.late - self.early > max(self.early * allowed.part, allowed.least)


def proves(number: int, *, filling: int = 0) -> bool:
    """Say whether so many samples are enough, the first `filling` of them taken while things filled up."""
    return number - _warm_up(number, filling) >= FEWEST


def drift_of(samples: Sequence[float], *, filling: int = 0) -> Drift:
    """Return how a figure moved; its samples come at even times."""
    if not proves(len(samples), filling=filling):
        raise ValueError(f"{len(samples)} samples, {filling} of them while things fill up, say nothing")
    judged = samples[_warm_up(len(samples), filling) :]
    third = len(judged) // 3
    return Drift(early=median(judged[:third]), late=median(judged[-third:]))


def _warm_up(number: int, filling: int) -> int:
    return max(number // 4, filling)
