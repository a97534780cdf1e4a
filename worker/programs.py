"""Celery's worker and Beat without Celery's command line, as `suno-worker up` starts them.

`celery -A worker worker` runs the same worker. But the command loads all its verbs, their shell, and Flower
where that is installed: in each process, for as long as it lives, 12 MiB more and half a second of its start.
"""

from __future__ import annotations

import sys

from worker.celery import app


def worker() -> None:
    """Run a worker for all queues until it is told to stop."""
    program = app.Worker(quiet=True)
    program.start()
    sys.exit(program.exitcode)


def beat() -> None:
    """Run Beat until it is told to stop."""
    app.Beat(quiet=True).run()
