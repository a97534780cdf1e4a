from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest

from worker.clients import portal as portal_module
from worker.clients.portal import Portal, PortalClosed, close_portal, portal


@pytest.fixture
def running() -> Iterator[Portal]:
    """Give a portal of the test's own."""
    started = Portal.start()
    yield started
    started.close()


@pytest.fixture
def _no_portal_left() -> Iterator[None]:
    """Close the process's portal after the test."""
    yield
    close_portal()


async def where() -> tuple[str, asyncio.AbstractEventLoop]:
    """Return the thread and the loop that this runs on."""
    return threading.current_thread().name, asyncio.get_running_loop()


def test_coroutines_of_all_threads_run_on_one_loop(running: Portal) -> None:
    """Whoever submits, the coroutine runs on the portal's loop, in the portal's thread."""
    with ThreadPoolExecutor(8) as threads:
        futures = list(threads.map(lambda _: running.submit(where()), range(64)))
    places = {future.result() for future in futures}
    assert len(places) == 1
    assert places.pop()[0] == "suno-worker-http"


def test_what_a_coroutine_raises_reaches_its_submitter(running: Portal) -> None:
    """An exception belongs to its own future and harms nobody else."""

    async def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        running.submit(fail()).result()
    assert running.submit(where()).result()[0] == "suno-worker-http"


def test_waiting_coroutines_hold_no_thread(running: Portal) -> None:
    """A thousand coroutines wait for each other: with a thread each they would need a thousand."""
    before = threading.active_count()

    async def make() -> asyncio.Barrier:
        return asyncio.Barrier(1000)

    barrier = running.submit(make()).result()

    async def meet() -> None:
        await barrier.wait()

    for future in [running.submit(meet()) for _ in range(1000)]:
        future.result()
    assert threading.active_count() == before


def test_close_cancels_what_runs_and_ends_the_thread() -> None:
    """Whoever waits for a coroutine that is cut off learns it; clean-up inside the coroutine is done."""
    closing = Portal.start()
    began, cleaned = threading.Event(), threading.Event()

    async def wait_for_ever() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    future = closing.submit(wait_for_ever())
    began.wait()
    closing.close()
    with pytest.raises(CancelledError):
        future.result()
    assert cleaned.is_set()
    assert closing.closed
    assert "suno-worker-http" not in {thread.name for thread in threading.enumerate()}


def test_submit_after_close_says_so() -> None:
    """The error is clear, and the coroutine is put away without a warning."""
    closed = Portal.start()
    closed.close()
    with pytest.raises(PortalClosed, match="the event loop for HTTP is closed: this process is stopping"):
        closed.submit(where())


def test_closing_twice_from_many_threads_is_fine() -> None:
    """Each closer returns once the loop has ended."""
    closing = Portal.start()
    with ThreadPoolExecutor(8) as threads:
        for ended in [threads.submit(closing.close) for _ in range(8)]:
            ended.result()
    assert closing.closed


def test_each_submit_beside_close_is_either_run_or_refused() -> None:
    """Under a race no future is left without an end."""
    closing = Portal.start()
    start = threading.Barrier(5)

    def submit_until_refused() -> list[Future[object]]:
        accepted: list[Future[object]] = []
        start.wait()
        with suppress(PortalClosed):
            while True:
                accepted.append(closing.submit(where()))
        return accepted

    with ThreadPoolExecutor(5) as threads:
        submitters = [threads.submit(submit_until_refused) for _ in range(4)]
        start.wait()
        closing.close()
        for submitter in submitters:
            assert all(future.done() for future in submitter.result())


def test_it_cannot_close_itself(running: Portal) -> None:
    """A coroutine that closes its own loop gets an error instead of a deadlock."""

    async def close() -> None:
        running.close()

    with pytest.raises(RuntimeError, match="cannot be closed from its own event loop"):
        running.submit(close()).result()


def test_a_coroutine_that_refuses_to_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker can always stop; the log names the coroutine that would not."""
    monkeypatch.setattr(portal_module, "CLOSING_GRACE", timedelta(milliseconds=20))
    closing = Portal.start()
    began, release = threading.Event(), asyncio.Event()

    async def stubborn() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await release.wait()

    closing.submit(stubborn())
    began.wait()
    closing.close()
    assert "left behind at shutdown" in caplog.text
    assert "stubborn" in caplog.text


@pytest.mark.usefixtures("_no_portal_left")
def test_a_process_has_one_portal() -> None:
    """All threads get the same one; after its end the next call starts another."""
    with ThreadPoolExecutor(8) as threads:
        first, *others = threads.map(lambda _: portal(), range(32))
    assert all(other is first for other in others)
    close_portal()
    assert first.closed
    assert portal() is not first


def test_closing_without_a_portal_does_nothing() -> None:
    """Shutting down what never started is fine."""
    close_portal()
