"""Load that goes on beside what a fault does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def feeding(step: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """Take the step again and again for the length of the block, in a thread of its own."""
    over = threading.Event()

    def feed() -> None:
        while not over.wait(every_s):
            step()

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield
    finally:
        over.set()
        feeder.join()
