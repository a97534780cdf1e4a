"""What a worker process asks of its interpreter, and importing the package does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker.process import NEW_OBJECTS

STARTED = """
import gc, sys
gc.set_threshold(int(sys.argv[1]), *gc.get_threshold()[1:])
at_first = gc.get_threshold()
import worker.process, worker.tasks
from celery.signals import celeryd_after_setup
assert gc.get_threshold() == at_first
celeryd_after_setup.send(sender="a worker", instance=None, conf=None)
assert gc.get_threshold()[1:] == at_first[1:]
print(gc.get_threshold()[0])
"""


@pytest.mark.parametrize(
    ("before", "then"),
    [
        pytest.param(700, NEW_OBJECTS, id="the default"),
        pytest.param(2_000, NEW_OBJECTS, id="the default of a later Python"),
        pytest.param(50_000, 50_000, id="even more seldom"),
        pytest.param(0, 0, id="never"),
    ],
)
def test_a_worker_looks_for_garbage_seldom_and_who_imports_it_as_before(before: int, then: int) -> None:
    """Other services keep their own settings; a worker keeps what is larger or switched off."""
    command = [sys.executable, "-c", STARTED, str(before)]
    ran = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(ran.stdout) == then
