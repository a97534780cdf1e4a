from __future__ import annotations

import pytest

from tests.chaos.lanes import Healed


@pytest.mark.parametrize(
    ("reached", "in_time", "faults"),
    [
        (True, True, []),
        (False, True, ["was not reached within 60 s"]),
        (True, False, ["had not healed after 300 s"]),
    ],
)
def test_a_round_that_had_not_healed_is_wrong(reached: bool, in_time: bool, faults: list[str]) -> None:
    """A later round heals what this one left, so what it left is told of the round and not of its tasks."""
    one = Healed(place="a step", tasks=("t",), recovery=300.0, reached=reached, in_time=in_time)

    assert list(one.faults()) == faults
