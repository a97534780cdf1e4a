"""Load that goes on beside what a fault does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def feeding(step: Callable[[], object], *, every_s: float) -> Iterator[None]:
    """Take the step again and again for the length of the block, in a thread of its own.

    A step that fails ends the feeding; the block then ends with its error.
    """
    over = threading.Event()

    def feed() -> None:
        while not over.wait(every_s):
            step()

    with ThreadPoolExecutor(max_workers=1) as pool:
        feeder = pool.submit(feed)
        try:
            yield
        finally:
            over.set()
        feeder.result()
