"""Wakes an event loop from any thread, once for any number of calls."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any


class Wakening:
    """Has the loop call a function soon. What is asked for before it begins is answered by that one call."""

    def __init__(self, answer: Callable[[], None]) -> None:
        """Make one that calls `answer`; no loop listens yet."""
        self._answer = answer
        self._asked = False
        self._near, self._far = os.pipe()
        for end in (self._near, self._far):
            os.set_blocking(end, False)
            weakref.finalize(self, os.close, end)

    def listen(self, loop: Any) -> None:  # noqa: ANN401 - kombu's hub
        """Be heard by `loop` until that forgets its readers."""
        loop.add_reader(self._near, self._hear)

    def wake(self) -> None:
        """Have the answer given soon."""
        if not self._asked:
            self._asked = True
            os.write(self._far, b".")

    def _hear(self) -> None:
        os.read(self._near, 16)
        # Not before the read, which would swallow the byte of one who asks in between: none would come again.
        self._asked = False
        self._answer()
