"""Who runs a stream: one message at a time, and behind one that is overdue another that takes over.

All of it is decided under one lock, so that whoever is told that somebody runs has been heard by that runner
before it ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class Shift:
    """One runner's turn after the other. All methods may be called from any thread."""

    def __init__(self) -> None:
        """Begin with nobody at work."""
        self._lock = threading.Lock()
        self._running = False
        self._overdue = False
        self._successor = False

    def begin(self, *, ring: Callable[[], None]) -> bool:
        """Take the turn, or the next one behind a runner that is overdue; else `ring` and return False."""
        with self._lock:
            if not self._running:
                self._running = True
                return True
            ring()
            if self._overdue and not self._successor:
                self._successor = True
                return True
            return False

    def tell(self, *, ring: Callable[[], None]) -> bool:
        """Have the runner hear `ring`; False when nobody runs."""
        with self._lock:
            if self._running:
                ring()
            return self._running

    def overrun(self) -> None:
        """Let the next message take over: the runner's budget is spent."""
        with self._lock:
            self._overdue = True

    @property
    def is_relieved(self) -> bool:
        """Whether the successor has come."""
        with self._lock:
            return self._successor

    def end(self, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Give the turn to the successor or to nobody; False when `unless` says that it goes on."""
        with self._lock:
            if unless():
                return False
            self._running = self._successor
            self._overdue = self._successor = False
            return True
