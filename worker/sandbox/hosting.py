"""Serves an aiohttp application on loopback, in the caller's event loop or in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager

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

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=run, name="suno-sandbox", daemon=True)
    thread.start()
    loop, stop, url = started.result()
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
