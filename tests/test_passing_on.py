"""Two workers deliver, although the order in which they wait gives every message to one of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import redis
from celery import Celery

from tests.clients.peers import Connection, Peer, listen
from tests.factory import add_delivery, add_gateway, add_origin
from tests.programs import NO_GATEWAY, running
from worker.clients.portal import Portal
from worker.db.session import make_engine, make_sessions

SLOTS = 8
# Celery as always, in a process with few slots.
FEW_SLOTS = f"""
import sys
from celery.__main__ import main
from worker import dispatcher
dispatcher.SLOTS, dispatcher.RESERVE = {SLOTS}, 2
sys.argv[0] = "celery"
main()
"""
PATIENCE_S = 8.0  # less than the 10 s after which the client gives a silent receiver up


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Two workers at a broker; whichever has waited longest gets the next message."""

    sender: Celery
    broker: redis.Redis

    def send(self, name: str) -> None:
        """Send a doorbell; return when whoever took it waits again, now behind the other."""
        self.sender.send_task(name, queue=name.removeprefix("suno."))
        self.wait()

    def wait(self) -> None:
        """Return when both workers wait for messages."""
        end = time.monotonic() + PATIENCE_S
        while self._waiting() < 2:
            assert time.monotonic() < end, "not both workers wait for messages"
            threading.Event().wait(0.01)

    def _waiting(self) -> int:
        info = self.broker.info("clients")
        assert isinstance(info, dict)
        return int(info["blocked_clients"])


@pytest.fixture
def line(sqlite_url: str, broker_url: str, tmp_path: Path) -> Iterator[Line]:
    """Give two workers that have nothing to do yet. No Beat: the test sends what it would send."""
    settings = {
        **NO_GATEWAY,
        "WORKER_DATABASE_URL": sqlite_url,
        "WORKER_BROKER_URL": broker_url,
        "WORKER_WEBHOOK_ALLOW": "127.0.0.0/8",
    }
    few_slots = partial(running, "worker", settings=settings, folder=tmp_path, celery=("-c", FEW_SLOTS))
    with (
        redis.Redis.from_url(broker_url) as broker,
        closing(Celery(broker=broker_url)) as sender,
        few_slots("--hostname=one") as one,
        few_slots("--hostname=two") as two,
    ):
        for worker in (one, two):
            worker.wait_for(" ready.")
        line = Line(sender=sender, broker=broker)
        line.wait()
        yield line


@pytest.fixture
def hanging(portal: Portal) -> Iterator[Peer]:
    """Give a receiver that accepts every POST and never answers."""

    async def never(connection: Connection) -> None:
        await connection.reader.read()

    serving = listen(never)
    yield portal.submit(serving.__aenter__()).result()
    portal.submit(serving.__aexit__(None, None, None)).result()


@pytest.fixture
def owed(sqlite_url: str, hanging: Peer) -> None:
    """Owe it four times as many deliveries as a worker has slots."""
    engine = make_engine(sqlite_url)
    origin = f"http://127.0.0.1:{hanging.port}"
    now = datetime.now(UTC)
    with make_sessions(engine).begin() as session:
        add_gateway(session)
        for _ in range(4 * SLOTS):
            add_delivery(session, notify_hook=f"{origin}/hook", origin=origin, next_attempt_at=now)
        add_origin(
            session, origin=origin, concurrency=64, delivered_at=now + timedelta(minutes=1), next_claim_at=now
        )
    engine.dispose()


@pytest.mark.usefixtures("line", "owed")  # the receiver ends first, or the workers would wait for it
def test_a_worker_in_step_with_another_delivers_too(line: Line, hanging: Peer) -> None:
    """One of them gets every `suno.poll` and the other every `suno.deliver`; both fill all their slots."""
    end = time.monotonic() + PATIENCE_S

    while hanging.accepts < 2 * SLOTS and time.monotonic() < end:
        line.send("suno.poll")
        line.send("suno.deliver")

    assert hanging.accepts == 2 * SLOTS
