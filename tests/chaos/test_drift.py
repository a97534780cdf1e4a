from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.chaos.drift import Allowed, Drift, drift_of

ALLOWED = Allowed(part=0.1, least=4)


@pytest.mark.parametrize(
    ("samples", "drift"),
    [
        ([10, 60, *[80] * 14], Drift(early=80, late=80)),
        ([80, 80, 80, 80, 80, 80, 80, 900, 80, 80, 80, 80, 80, 900, 80, 80], Drift(early=80, late=80)),
        (range(100, 180), Drift(early=129.5, late=169.5)),
    ],
    ids=["a warm-up", "peaks", "a leak"],
)
def test_a_warm_up_and_a_peak_are_no_growth_and_a_leak_is(samples: Sequence[float], drift: Drift) -> None:
    """What grows at first, or for a moment, stays; what grows all the time shows half of it."""
    assert drift_of(samples) == drift


@pytest.mark.parametrize(
    ("early", "late", "grew"),
    [(100, 110, False), (100, 110.5, True), (10, 14, False), (10, 14.5, True), (100, 20, False)],
    ids=["the part", "beyond the part", "the least", "beyond the least", "less"],
)
def test_growth_is_allowed_up_to_the_larger_of_the_part_and_the_least(
    early: float, late: float, grew: bool
) -> None:
    """A small figure may move by some units, a large one by a part of it."""
    assert Drift(early=early, late=late).exceeds(ALLOWED) is grew


def test_what_fills_up_is_no_growth() -> None:
    """Tables fill until the first rows are past their retention, however much of a short run that is."""
    samples = [*range(10), *[10.0] * 6]

    assert drift_of(samples, filling=10) == Drift(early=10, late=10)
    assert drift_of(samples) != drift_of(samples, filling=10)
    assert drift_of(samples, filling=1) == drift_of(samples)


@pytest.mark.parametrize(("number", "filling"), [(6, 0), (100, 95)])
def test_too_few_samples_prove_nothing(number: int, filling: int) -> None:
    """A run that was cut short is no run that went well."""
    with pytest.raises(ValueError, match="say nothing"):
        drift_of([1.0] * number, filling=filling)
