"""The process's one event loop, in a thread of its own: synchronous code hands it coroutines.

Celery's threads, the command line and the tests are synchronous; HTTP is not. They meet here and nowhere
else: `submit` gives a coroutine to the loop and returns a `concurrent.futures.Future` at once. A coroutine
that waits costs no thread, so hundreds of requests are in flight while two or three threads steer them.

The loop starts with the first `portal()`, never at import: a process that forks before that (none of ours
does: the worker's pool is `threads`) takes no half-alive loop with it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

# How long `close` waits for coroutines that it has cancelled. Ours end at once; one that swallows its
# cancellation is left behind and named in the log, so that a worker can always stop.
CLOSING_GRACE = timedelta(seconds=5)


class PortalClosed(RuntimeError):
    """The event loop has ended: nothing can be submitted any more."""


class Portal:
    """One event loop in a daemon thread. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="suno-worker-http", daemon=True)
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def start(cls) -> Portal:
        """Return a portal whose loop runs."""
        started = cls()
        started._thread.start()
        return started

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run `coroutine` on the loop; its future holds what it returns or raises.

        After `close` it raises PortalClosed, and the coroutine never starts.
        """
        with self._lock:  # `close` cannot slip in between: what was accepted is also cancelled
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        coroutine.close()
        raise PortalClosed("the event loop for HTTP is closed: this process is stopping")

    def close(self) -> None:
        """Cancel what runs, wait for it (at most 5 s), end the loop and its thread. Twice is fine."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("a portal cannot be closed from its own event loop: it would wait for itself")
        with self._lock:
            first = not self._closed
            self._closed = True
        if first:
            asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


async def _cancel_others() -> None:
    """Cancel every task of this loop but the one that runs this."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        _, stubborn = await asyncio.wait(others, timeout=CLOSING_GRACE.total_seconds())
        for task in stubborn:
            logger.error("left behind at shutdown, it swallows its cancellation: %r", task.get_coro())


_lock = threading.Lock()
_portal: Portal | None = None


def portal() -> Portal:
    """Return the process's portal, started now if none runs."""
    global _portal  # noqa: PLW0603  # one per process is what this module is for
    with _lock:
        if _portal is None or _portal.closed:
            _portal = Portal.start()
        return _portal


def close_portal() -> None:
    """Close the process's portal if there is one."""
    with _lock:
        if _portal is not None:
            _portal.close()
