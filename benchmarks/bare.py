"""The yardstick, in a process of its own: `python -m benchmarks.bare httpx|aiohttp|ours …` prints JSON.

It sends POSTs of the size of a webhook and does nothing else: with httpx over the aiohttp transport, with
aiohttp alone, or with our own client, which adds the address guard, the deadline and the capped read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Callable
from datetime import timedelta

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from worker.clients.endpoint import Post
from worker.clients.pool import Clients
from worker.clients.portal import Portal
from worker.core.addresses import Allow
from worker.core.verdicts import Answered

TIMEOUT = timedelta(seconds=15)  # as WORKER_WEBHOOK_TIMEOUT is by default
BODY = 3_000  # bytes, as the webhook of two clips has


def measured(run: Callable[[], None]) -> dict[str, float]:
    """Run and return CPU and wall seconds of this process, and its peak memory in MiB."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


async def with_httpx(*, port: int, count: int, concurrency: int) -> None:
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


async def with_aiohttp(*, port: int, count: int, concurrency: int) -> None:
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


def with_ours(*, port: int, count: int, concurrency: int) -> dict[str, float]:
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["httpx", "aiohttp", "ours"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--concurrency", type=int, default=64)
    chosen = parser.parse_args()
    sizes = {"port": chosen.port, "count": chosen.count, "concurrency": chosen.concurrency}
    if chosen.what == "ours":
        print(json.dumps(with_ours(**sizes)))
    else:
        loop = with_httpx if chosen.what == "httpx" else with_aiohttp
        print(json.dumps(measured(lambda: asyncio.run(loop(**sizes)))))
