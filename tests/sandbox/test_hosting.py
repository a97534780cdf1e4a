from __future__ import annotations

import asyncio
import threading
from urllib.parse import urlsplit

import httpx
import pytest
from aiohttp import ClientSession, web

from worker.sandbox.hosting import hosted, serving


async def hello(_request: web.Request) -> web.Response:
    """Greet."""
    return web.Response(text="hello")


def greeter() -> web.Application:
    """Return an application that greets."""
    app = web.Application()
    app.router.add_get("/", hello)
    return app


def test_it_serves_in_the_callers_loop() -> None:
    """Inside the block the application answers, afterwards the port is closed."""

    async def visit() -> tuple[str, str]:
        async with serving(greeter()) as url, ClientSession() as client, client.get(url) as answer:
            return url, await answer.text()

    url, text = asyncio.run(visit())

    assert text == "hello"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_it_serves_in_a_thread_that_ends() -> None:
    """A synchronous caller gets a served application; its thread is gone afterwards."""
    before = threading.active_count()
    with hosted(greeter()) as url:
        text = httpx.get(url).text

    assert text == "hello"
    assert threading.active_count() == before


def test_a_taken_port_is_an_error_of_the_caller() -> None:
    """The port's OSError reaches the caller, in the threaded form too."""
    with hosted(greeter()) as url, pytest.raises(OSError, match="address already in use"):
        hosted(greeter(), port=urlsplit(url).port or 0).__enter__()


def test_an_ipv6_address_is_written_in_brackets() -> None:
    """The base URL of an IPv6 host can be used as it is."""
    with hosted(greeter(), host="::1") as url:
        assert url.startswith("http://[::1]:")
        assert httpx.get(url).text == "hello"
