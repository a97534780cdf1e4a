"""One measured sweep over real HTTP, in a process of its own: `python -m benchmarks.unchanged polls|gets …`.

`polls` is the whole poller with its own client, at a gateway that says of every task what is known already;
CPU is that of this process and of its one backend of PostgreSQL. `gets` asks for each task alone, with
nothing but httpx over the aiohttp transport and a decoder: what a poll costs without a batch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial

import aiohttp
import httpx
import msgspec
from httpx_aiohttp import AiohttpTransport
from sqlalchemy import Engine

from benchmarks.bare import measured
from benchmarks.sweep import BATCH, CONCURRENCY, LIMITS, TARGET, Spent, on_postgresql
from worker.batches import PolledGateway
from worker.clients.gateway import GatewayClient, GatewayTarget
from worker.clients.pool import Clients
from worker.clients.portal import Portal
from worker.core.addresses import Allow
from worker.core.lifecycle import Action
from worker.core.wire import Reply
from worker.db.session import make_engine, make_sessions
from worker.poller import Poller


class Counted:
    """The gateway client, which says when enough was asked."""

    def __init__(self, client: GatewayClient, *, polls: int, enough: threading.Event) -> None:
        """Make a client that sets `enough` after so many tasks."""
        self._client = client
        self._left = polls
        self._enough = enough

    async def fetch(
        self, target: GatewayTarget, *, action: Action, task_ids: Sequence[str]
    ) -> AsyncIterator[tuple[tuple[str, ...], Reply]]:
        """Ask, and count."""
        self._left -= len(task_ids)
        if self._left <= 0:
            self._enough.set()
        async for answer in self._client.fetch(target, action=action, task_ids=task_ids):
            yield answer


def polls(engine: Engine, *, polls: int, port: int, spent: Spent = time.thread_time) -> dict[str, float]:
    """Ask about so many tasks with the poller, and return what it cost."""
    del spent
    portal = Portal.start()
    clients = Clients.open(portal=portal, allow=Allow.parse([]), webhook_timeout=timedelta(seconds=15))
    enough = threading.Event()
    target = replace(TARGET, base_url=f"http://127.0.0.1:{port}")
    poller = Poller(
        sessions=make_sessions(engine),
        polled={
            "hub": PolledGateway(
                target=target, batch_size=BATCH, concurrency=CONCURRENCY, cooldown=timedelta(seconds=5)
            )
        },
        limits=LIMITS,
        poll_interval=timedelta(0),
        client=Counted(clients.gateway, polls=polls, enough=enough),
        submit=portal.submit,
        ring_deliver=lambda: None,
    )
    counts: dict[str, object] = {}
    result = measured(lambda: counts.update(poller.run(stop=enough, ring_successor=lambda: None)))
    clients.close()
    portal.close()
    assert (counts["transitions"], counts["troubles"], counts["lost"]) == (0, 0, 0), counts
    return result | {"polled": float(str(counts["polled"]))}


async def gets(*, port: int, count: int) -> None:
    """Ask for each of `count` tasks alone, as many at a time as the poller."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY))
    client = httpx.AsyncClient(transport=AiohttpTransport(client=session))
    left = iter(range(count))

    async def send() -> None:
        for number in left:
            response = await client.get(
                f"http://127.0.0.1:{port}/suno/fetch/task-{number}", headers={"authorization": "Bearer k"}
            )
            assert msgspec.json.decode(response.content)["data"]["status"] == "IN_PROGRESS"

    async with client:
        await asyncio.gather(*(send() for _ in range(CONCURRENCY)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["polls", "gets"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--database", default="")
    chosen = parser.parse_args()
    if chosen.what == "gets":
        asking = gets(port=chosen.port, count=chosen.count)
        print(json.dumps(measured(lambda: asyncio.run(asking)) | {"polled": chosen.count}))
    else:
        used = make_engine(chosen.database, by_index=True)
        print(json.dumps(on_postgresql(used, measure=partial(polls, port=chosen.port), polls=chosen.count)))
        used.dispose()
