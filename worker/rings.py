"""Doorbells: messages that carry nothing and wake a worker a moment before Beat's next tick would.

They are published from a thread of their own: while the broker is away one publication takes 5 to 6 s to
fail, and whoever has just committed a result must not wait for that. Rings for the same task that come
meanwhile become one. A ring that fails is no trouble: the next tick makes up for it.

The broker hands messages to the workers in the order in which they came back for more. With two workers and
two ticks a second that order never changes: one gets every `suno.poll`, the other every `suno.deliver`, also
those for which it has no slot. So it passes such a message on, and the next in the line gets it, and so on
until one is free. Each process does so at most twice a second for each task: while all are at work, that many
messages go round, and a single worker gets its own back.
"""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue
from typing import Any

from celery import Task

PASS_EVERY_S = 0.5  # less than Beat's tick, so that each may be passed on

logger = logging.getLogger(__name__)


class Rings:
    """The rings of one process. `ring` may be called from any thread and returns at once."""

    def __init__(self, *, expires_s: float) -> None:
        """Make it; its thread starts with the first ring."""
        self._expires_s = expires_s
        self._queue: SimpleQueue[Task[..., Any]] = SimpleQueue()
        self._queued: set[str] = set()
        self._may_pass_at: dict[str, float] = {}
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

    def pass_on(self, task: Task[..., Any], *, now: float) -> None:
        """Have `task` published for another process, unless that was done less than half a second ago.

        `now` is in seconds of the monotonic clock.
        """
        with self._lock:
            may_pass = now >= self._may_pass_at.get(task.name, now)
            if may_pass:
                self._may_pass_at[task.name] = now + PASS_EVERY_S
        if may_pass:
            self.ring(task)

    def _publish_all(self) -> None:
        while True:
            task = self._queue.get()
            with self._lock:  # what is rung from here on is newer than this message
                self._queued.discard(task.name)
            try:
                task.apply_async(retry=False, expires=self._expires_s)
            except Exception as error:  # noqa: BLE001  # whatever it was: a ring may be lost
                logger.debug("%s was not rung: %s", task.name, error)
