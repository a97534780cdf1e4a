from __future__ import annotations

import asyncio
import gc
import itertools
import socket
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import pytest

from tests.clients.hostile import (
    bytes_of_no_text,
    close_without_answer,
    continue_fast,
    continue_tersely,
    drip_body,
    drip_head,
    endless_body,
    endless_chunk_extension,
    endless_chunks,
    endless_header,
    endless_headers,
    endless_trailers,
    gzip_bomb,
    huge_body,
    packed_zeros,
    reset_mid_head,
    say_nothing,
    saying,
)
from tests.clients.peers import OK, Connection, Script, answering, listen, server_tls, trusting_tls
from worker.clients import endpoint
from worker.clients.endpoint import EndpointClient, Post
from worker.clients.response import Response
from worker.core.addresses import Allow
from worker.core.verdicts import Failed, PostError, PostOutcome

pytestmark = pytest.mark.anyio

BODY_SIZE = 4 * 1024 * 1024
AT_ONCE = 50
MOST_KIB = 16 * 1024

# A process of its own: the receivers' memory is not counted, and nothing else in it moves the figure.
PROBE = """
import asyncio, sys
from datetime import timedelta
from pathlib import Path
from worker.clients.endpoint import EndpointClient, Post
from worker.core.addresses import Allow

def kib(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field + ":"))

async def main(healthy, hostile):
    client = EndpointClient(allow=Allow.parse(["127.0.0.0/8"]), timeout=timedelta(seconds=2))
    post = lambda port: client.post(Post(url=f"http://127.0.0.1:{port}/", body=b"{}", headers={}))
    await asyncio.gather(*(post(healthy) for _ in hostile))  # what a client needs once
    before = kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    exchanges = await asyncio.gather(*(post(port) for port in hostile))
    print(kib("VmHWM") - before, max(one.duration.total_seconds() for one in exchanges))
    await client.close()

asyncio.run(main(int(sys.argv[1]), [int(port) for port in sys.argv[2:]]))
"""
ALL = [
    bytes_of_no_text,
    continue_fast,
    continue_tersely,
    drip_body,
    drip_head,
    endless_body,
    endless_chunk_extension,
    endless_chunks,
    endless_header,
    endless_headers,
    endless_trailers,
    gzip_bomb,
    huge_body,
    say_nothing,
]


@pytest.mark.parametrize(
    "scripts",
    [
        pytest.param(ALL, id="of every kind"),
        pytest.param([continue_tersely], id="flood of 1xx"),
        pytest.param([endless_chunks], id="endless chunks"),
        pytest.param([endless_headers], id="endless headers"),
        pytest.param([huge_body], id="300 MB"),
        pytest.param([gzip_bomb], id="gzip bomb"),
    ],
)
async def test_fifty_hostile_receivers_at_once_leave_memory_flat(scripts: list[Script]) -> None:
    """Posts to 50 of them at once take less than 16 MiB at the peak, and none lasts 4 s, twice its time."""
    packed_zeros()  # made before any clock runs
    async with AsyncExitStack() as stack:
        healthy = await stack.enter_async_context(answering(OK))
        hostile = [await stack.enter_async_context(listen(script)) for script in scripts]
        ports = itertools.islice(itertools.cycle([peer.port for peer in hostile]), AT_ONCE)
        probe = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            PROBE,
            str(healthy.port),
            *(str(port) for port in ports),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await probe.communicate()
    grown, longest = said.split()
    assert probe.returncode == 0
    assert int(grown) < MOST_KIB
    assert float(longest) < 4


async def test_a_connection_with_tls_takes_a_tenth_of_a_mebibyte() -> None:
    """By itself asyncio would take three times as much for each, so 300 MiB for a thousand in flight."""
    client = EndpointClient(
        allow=Allow.parse(["127.0.0.0/8"]), timeout=timedelta(seconds=30), ssl_context=trusting_tls()
    )
    came = asyncio.Semaphore(0)

    async def take_and_hang(connection: Connection) -> None:
        await connection.request()
        came.release()
        await asyncio.Event().wait()

    async with listen(take_and_hang, tls=server_tls()) as hanging:
        post = Post(url=f"https://127.0.0.1:{hanging.port}/", body=b"{}", headers={})
        tracemalloc.start()
        try:
            waiting = [asyncio.create_task(client.post(post)) for _ in range(AT_ONCE)]
            for _ in waiting:
                await came.acquire()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
    await client.close()

    assert held / AT_ONCE < 100 * 1024  # with the receivers' side, which is in this process too


async def test_who_waits_for_an_answer_holds_no_body() -> None:
    """Neither what was to be sent nor the request that went out: a thousand may wait at the same time."""
    came = asyncio.Event()

    async def take_and_hang(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        left = BODY_SIZE
        while left:
            left -= len(await connection.reader.read(left))
        came.set()
        await asyncio.Event().wait()

    client = EndpointClient(allow=Allow.parse(["127.0.0.0/8"]), timeout=timedelta(seconds=30))
    async with listen(take_and_hang) as hanging:
        tracemalloc.start()
        try:
            url = f"http://127.0.0.1:{hanging.port}/"
            post = client.post(Post(url=url, body=b"x" * BODY_SIZE, headers={}))
            waiting = asyncio.create_task(post)
            del post
            await came.wait()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        waiting.cancel()
        await asyncio.wait([waiting])
    await client.close()

    assert held < BODY_SIZE / 2


LONG, SHORT = timedelta(seconds=30), timedelta(seconds=0.5)
FAILING = [
    pytest.param(saying(b"nonsense"), LONG, LONG, PostError.PROTOCOL, id="no HTTP"),
    pytest.param(reset_mid_head, LONG, LONG, PostError.RESET, id="reset"),
    pytest.param(say_nothing, SHORT, LONG, PostError.READ_TIMEOUT, id="silence"),
    pytest.param(say_nothing, LONG, SHORT, PostError.DEADLINE, id="deadline"),
]


@pytest.mark.parametrize(
    ("script", "read", "whole", "error"),
    [
        pytest.param(saying(OK), LONG, LONG, None, id="whole"),
        pytest.param(endless_body, LONG, LONG, None, id="cut off"),
        pytest.param(close_without_answer, LONG, LONG, PostError.RESET, id="none"),
        pytest.param(endless_header, LONG, LONG, PostError.PROTOCOL, id="endless header"),
        *FAILING,
    ],
)
async def test_an_answer_is_freed_without_a_search_for_garbage(
    script: Script,
    read: timedelta,
    whole: timedelta,
    error: PostError | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It and its parser hold each other while it comes, a failure its frames while it rises; no longer."""
    monkeypatch.setattr(endpoint, "READ", read)
    async with client_of(whole) as client, listen(script) as peer:
        assert await answers_left(client, peer.port) == (error, 0)


async def test_a_refused_request_is_freed_without_a_search_for_garbage() -> None:
    """Who connects for us holds the failure in a frame that the failure holds."""
    async with client_of(LONG) as client:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and does not listen
            left = await answers_left(client, taken.getsockname()[1])
    assert left == (PostError.REFUSED, 0)


@pytest.mark.parametrize(("script", "read", "whole", "error"), FAILING)
async def test_a_failed_request_over_a_used_connection_is_freed_without_a_search_for_garbage(
    script: Script, read: timedelta, whole: timedelta, error: PostError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is held until something came back, since it may have to go out again, and no longer."""

    async def accept_one(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await script(connection)

    async with client_of(whole) as client, listen(accept_one) as peer:
        await post_to(client, peer.port)
        monkeypatch.setattr(endpoint, "READ", read)
        tracemalloc.start()
        try:
            assert await answers_left(client, peer.port, size=BODY_SIZE) == (error, 0)
            held, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

    assert peer.accepts == 1
    assert held < BODY_SIZE / 2 < most


@asynccontextmanager
async def client_of(whole: timedelta) -> AsyncIterator[EndpointClient]:
    """Give a client that may post to this machine."""
    client = EndpointClient(allow=Allow.parse(["127.0.0.0/8"]), timeout=whole)
    try:
        yield client
    finally:
        await client.close()


async def post_to(client: EndpointClient, port: int, *, size: int = 2) -> PostOutcome:
    """Post so many bytes."""
    post = Post(url=f"http://127.0.0.1:{port}/", body=b"x" * size, headers={})
    return (await client.post(post)).outcome


async def answers_left(client: EndpointClient, port: int, *, size: int = 2) -> tuple[PostError | None, int]:
    """Post; return what went wrong, and how many answers are left once the event loop has gone on."""
    gc.collect()
    gc.disable()
    try:
        outcome = await post_to(client, port, size=size)
        for _ in range(3):
            await asyncio.sleep(0)  # a cancellation is held by the loop's own round
        left = sum(type(one) is Response for one in gc.get_objects())  # isinstance would wake proxies
    finally:
        gc.enable()
    return outcome.error if isinstance(outcome, Failed) else None, left


async def test_a_worker_leaves_the_sandboxs_server_out() -> None:
    """The library aiohttp would take 9 MB of every worker."""
    code = "import sys, worker.process, worker.tasks; print('aiohttp' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert said == b"False\n"
