"""Doorbells: messages that carry nothing and wake a worker a moment before Beat's next tick would.

They are published from a thread of their own: while the broker is away one publication takes 5 to 6 s to
fail, and whoever has just committed a result must not wait for that. Rings for the same task that come
meanwhile become one. A ring that fails is no trouble: the next tick makes up for it.
"""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import Any

from celery import Task

logger = logging.getLogger(__name__)


class Rings:
    """The rings of one process. `ring` may be called from any thread and returns at once."""

    def __init__(self, *, expires_s: float) -> None:
        """Make it; its thread starts with the first ring."""
        self._expires_s = expires_s
        self._queue: SimpleQueue[Task[..., Any]] = SimpleQueue()
        self._queued: set[str] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ring(self, task: Task[..., Any]) -> None:
        """Have `task` published soon."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._publish_all, name="suno-worker-rings", daemon=True
                )
                self._thread.start()
            if task.name not in self._queued:
                self._queued.add(task.name)
                self._queue.put(task)

    def _publish_all(self) -> None:
        while True:
            task = self._queue.get()
            with self._lock:  # what is rung from here on is newer than this message
                self._queued.discard(task.name)
            try:
                task.apply_async(retry=False, expires=self._expires_s)
            except Exception as error:  # noqa: BLE001  # whatever it was: a ring may be lost
                logger.debug("%s was not rung: %s", task.name, error)
