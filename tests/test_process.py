"""What a worker process asks of its interpreter, and importing the package does not."""

from __future__ import annotations

import subprocess
import sys

from worker.process import NEW_OBJECTS

STARTED = """
import gc
at_first = gc.get_threshold()
import worker.process, worker.tasks
from celery.signals import celeryd_after_setup
assert gc.get_threshold() == at_first
celeryd_after_setup.send(sender="a worker", instance=None, conf=None)
assert gc.get_threshold()[1:] == at_first[1:]
print(gc.get_threshold()[0])
"""


def test_a_worker_looks_for_garbage_seldom_and_who_imports_it_as_before() -> None:
    """The command line and other services keep their own settings."""
    ran = subprocess.run([sys.executable, "-c", STARTED], check=True, capture_output=True, text=True)
    assert int(ran.stdout) == NEW_OBJECTS
