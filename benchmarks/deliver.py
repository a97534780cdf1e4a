"""One measured drain in a process of its own: `python -m benchmarks.deliver ours|bare|… …` prints JSON.

`ours` empties the outbox of a database with the whole dispatcher: claims, limits, breaker, guard,
signature, POST, verdict, attempt row. `bare` sends as many POSTs of the same size with nothing but httpx
over the aiohttp transport: the yardstick. `aiohttp` does it without httpx, `posts` with our own client alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport
from sqlalchemy import text

from worker.clients.endpoint import Post
from worker.clients.pool import Clients
from worker.clients.portal import Portal
from worker.core.addresses import Allow
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE
from worker.core.webhook import Answered
from worker.db.session import make_engine, make_sessions
from worker.dispatcher import Dispatcher

SECRET = b"benchmarks-only-a-secret"
TIMEOUT = timedelta(seconds=3)  # what a receiver that hangs costs its slot
BODY = 2_500  # bytes


def measured(run: Callable[[], None]) -> dict[str, float]:
    """Run and return CPU and wall seconds of this process, and its peak memory in MiB."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def ending_after(seconds: float | None) -> threading.Event:
    """Return an event that is set after so long: hanging receivers would keep a run going for hours."""
    stop = threading.Event()
    if seconds is not None:
        timer = threading.Timer(seconds, stop.set)
        timer.daemon = True
        timer.start()
    return stop


def ours(*, database: str, seconds: float | None, warm: bool) -> dict[str, float]:
    """Empty the outbox, or work for so long; `warm` first works off what is due, then makes the rest due."""
    portal = Portal.start()
    clients = Clients.open(portal=portal, allow=Allow.parse(["127.0.0.0/8"]), webhook_timeout=TIMEOUT)
    engine = make_engine(database)
    dispatcher = Dispatcher(
        sessions=make_sessions(engine),
        secrets=lambda _gateway: (SECRET,),
        retry_schedule=DEFAULT_RETRY_SCHEDULE,
        timeout=TIMEOUT,
        origin_concurrency=64,
        client=clients.endpoint,
        submit=portal.submit,
    )
    if warm:
        dispatcher.run(stop=ending_after(seconds), ring_successor=lambda: None)
        with engine.begin() as connection:
            connection.execute(text("UPDATE deliveries SET next_attempt_at = now() WHERE state = 'PENDING'"))
            connection.execute(text("UPDATE origins SET next_claim_at = now()"))
    stop = ending_after(seconds)
    since = time.time()
    counts: dict[str, object] = {}
    result = measured(lambda: counts.update(dispatcher.run(stop=stop, ring_successor=lambda: None)))
    clients.close()
    portal.close()
    engine.dispose()
    return result | {"delivered": float(str(counts["delivered"])), "since": since}


async def bare(*, port: int, count: int, concurrency: int) -> None:
    """Send `count` POSTs, `concurrency` at a time."""
    headers = {"content-type": "application/json", "webhook-id": "x" * 36, "webhook-signature": "x" * 47}
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency))
    client = httpx.AsyncClient(transport=AiohttpTransport(client=session))
    left = iter(range(count))

    async def send() -> None:
        for _ in left:
            response = await client.post(f"http://127.0.0.1:{port}/", content=b"x" * BODY, headers=headers)
            assert response.status_code == httpx.codes.OK

    async with client:
        await asyncio.gather(*(send() for _ in range(concurrency)))


async def bare_aiohttp(*, port: int, count: int, concurrency: int) -> None:
    """Send `count` POSTs with aiohttp alone, which httpx stands on here."""
    headers = {"content-type": "application/json", "webhook-id": "x" * 36, "webhook-signature": "x" * 47}
    left = iter(range(count))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:

        async def send() -> None:
            for _ in left:
                async with session.post(
                    f"http://127.0.0.1:{port}/", data=b"x" * BODY, headers=headers
                ) as response:
                    await response.read()
                    assert response.status == httpx.codes.OK

        await asyncio.gather(*(send() for _ in range(concurrency)))


def posts(*, port: int, count: int, concurrency: int) -> dict[str, float]:
    """Send `count` POSTs through our endpoint client alone, `concurrency` at a time."""
    portal = Portal.start()
    clients = Clients.open(portal=portal, allow=Allow.parse(["127.0.0.0/8"]), webhook_timeout=TIMEOUT)
    post = Post(url=f"http://127.0.0.1:{port}/", body=b"x" * BODY, headers={"webhook-id": "x" * 36})
    left = iter(range(count))

    async def send() -> None:
        for _ in left:
            exchange = await clients.endpoint.post(post)
            assert isinstance(exchange.outcome, Answered), exchange.outcome

    async def all_of_them() -> None:
        await asyncio.gather(*(send() for _ in range(concurrency)))

    result = measured(lambda: portal.submit(all_of_them()).result())
    clients.close()
    portal.close()
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["ours", "drain", "bare", "aiohttp", "posts"])
    parser.add_argument("--database", default="")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--concurrency", type=int, default=64)
    chosen = parser.parse_args()
    if chosen.what in {"ours", "drain"}:
        warm = chosen.what == "ours"
        print(json.dumps(ours(database=chosen.database, seconds=chosen.seconds, warm=warm)))
    elif chosen.what == "posts":
        print(json.dumps(posts(port=chosen.port, count=chosen.count, concurrency=chosen.concurrency)))
    else:
        loop = bare if chosen.what == "bare" else bare_aiohttp
        sending = loop(port=chosen.port, count=chosen.count, concurrency=chosen.concurrency)
        print(json.dumps(measured(lambda: asyncio.run(sending))))
