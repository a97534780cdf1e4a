"""Serves an aiohttp application on loopback, in the caller's event loop or in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiohttp import web

LOOPBACK = "127.0.0.1"
_SHUTDOWN_SECONDS = 1.0


@asynccontextmanager
async def serving(app: web.Application, *, host: str = LOOPBACK, port: int = 0) -> AsyncIterator[str]:
    """Serve `app` inside the block and give its base URL; port 0 takes a free one.

    A handler whose client has gone is cancelled at once, so a hanging one never delays the end.
    Raises OSError when the port is taken.
    """
    runner = web.AppRunner(
        app, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_SECONDS, access_log=None
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound_host, bound_port = runner.addresses[0][:2]
        yield f"http://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}"
    finally:
        await runner.cleanup()


@contextmanager
def hosted(app: web.Application, *, host: str = LOOPBACK, port: int = 0) -> Iterator[str]:
    """Serve `app` in a thread of its own inside the block and give its base URL; for synchronous callers."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = Future()

    async def serve() -> None:
        async with serving(app, host=host, port=port) as url:
            stop = asyncio.Event()
            started.set_result((asyncio.get_running_loop(), stop, url))
            await stop.wait()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="suno-sandbox") as executor:
        ended = executor.submit(asyncio.run, serve())
        either: tuple[Future[Any], ...] = (started, ended)
        wait(either, return_when=FIRST_COMPLETED)
        if ended.done():
            ended.result()  # it raises: nothing has asked the server to end
        loop, stop, url = started.result()
        try:
            yield url
        finally:
            loop.call_soon_threadsafe(stop.set)
            ended.result()
