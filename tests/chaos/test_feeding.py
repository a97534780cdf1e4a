from __future__ import annotations

import threading

import pytest

from tests.chaos.feeding import feeding


def test_a_feeder_that_fails_is_told() -> None:
    """Load that ended unseen would make any fault look survived: the block ends with the feeder's error."""
    failed = threading.Event()

    def step() -> None:
        failed.set()
        raise LookupError("no room")

    with pytest.raises(LookupError, match="no room"), feeding(step, every_s=0.001):
        assert failed.wait(10)
