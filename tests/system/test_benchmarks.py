"""The scenarios of the benchmark that take a minute together; the cheap ones are in the suite."""

from __future__ import annotations

import pytest

from benchmarks.scenarios import SCENARIOS
from tests.measured import CHEAP, measured

SLOW = [name for name in SCENARIOS if name not in CHEAP]


@pytest.mark.timeout(240)  # a scenario has 180 s, and is given time to end
@pytest.mark.parametrize("name", SLOW)
def test_a_scenario_counts_what_it_measures(name: str) -> None:
    """A scenario runs by itself, and measures what it says."""
    measured(name)
