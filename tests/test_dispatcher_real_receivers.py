"""Deliveries through the real client to real receivers and name servers, with every row where it belongs."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TypeVar

import pytest
from sqlalchemy import select

from tests.clients.name_server import Answers, name_server
from tests.clients.peers import OK, Connection, answering, listen
from tests.factory import add_delivery, add_gateway, add_origin, add_task
from worker.clients import lookup
from worker.clients.pool import Clients
from worker.clients.portal import Portal
from worker.core.addresses import Allow
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE
from worker.core.webhook import origin_of_stored
from worker.db.models import Attempt, Delivery, Origin
from worker.db.session import Sessions
from worker.dispatcher import Dispatcher

T = TypeVar("T")

LOOPBACK = Allow.parse(["127.0.0.0/8"])
TIMEOUT = timedelta(seconds=15)
LOOKUP = timedelta(seconds=2)  # what a silent name server holds up, shortened
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
def portal() -> Iterator[Portal]:
    """Give an event loop in a thread of its own."""
    portal = Portal.start()
    yield portal
    portal.close()


@dataclass(kw_only=True)
class Stage:
    """A dispatcher with a real client, and peers on the same event loop."""

    sessions: Sessions
    portal: Portal
    nameservers: list[str] | None = None
    _opened: list[AbstractAsyncContextManager[object]] = field(default_factory=list)

    def enter(self, serving: AbstractAsyncContextManager[T]) -> T:
        """Start a peer; `close` ends it."""
        self._opened.append(serving)
        return self.portal.submit(serving.__aenter__()).result()

    def add(self, hook: str, *, origin: str | None = None) -> str:
        """Insert a delivery that is due; return its id."""
        now = datetime.now(UTC)
        origin = origin or origin_of_stored(hook)
        with self.sessions.begin() as session:
            if session.get(Origin, origin) is None:
                add_origin(session, origin=origin)
            row_id = add_task(session, status="SUCCESS", progress=100, data="{}", finished_at=now)
            return add_delivery(
                session, suno_task_id=row_id, notify_hook=hook, origin=origin, next_attempt_at=now
            )

    def deliver(self) -> dict[str, object]:
        """Run the dispatcher until nothing is due or in flight; a second run has the first one's client."""
        return self._dispatcher.run(stop=threading.Event(), ring_successor=lambda: None)

    @cached_property
    def _clients(self) -> Clients:
        return Clients.open(
            portal=self.portal, allow=LOOPBACK, webhook_timeout=TIMEOUT, nameservers=self.nameservers
        )

    @cached_property
    def _dispatcher(self) -> Dispatcher:
        return Dispatcher(
            sessions=self.sessions,
            secrets=lambda _gateway: (),
            retry_schedule=DEFAULT_RETRY_SCHEDULE,
            timeout=TIMEOUT,
            origin_concurrency=64,
            client=self._clients.endpoint,
            submit=self.portal.submit,
        )

    def delivery(self, delivery_id: str) -> Delivery:
        """Return a delivery's row."""
        with self.sessions() as session:
            return session.scalars(select(Delivery).where(Delivery.id == delivery_id)).one()

    def attempts(self) -> list[Attempt]:
        """Return all attempts in their order."""
        with self.sessions() as session:
            return list(session.scalars(select(Attempt).order_by(Attempt.id)))

    def close(self) -> None:
        """End the client and the peers."""
        self._clients.close()
        for serving in reversed(self._opened):
            self.portal.submit(serving.__aexit__(None, None, None)).result()


@pytest.fixture
def stage(sessions: Sessions, portal: Portal) -> Iterator[Stage]:
    """Give a stage with one gateway and nobody on it."""
    with sessions.begin() as session:
        add_gateway(session)
    stage = Stage(sessions=sessions, portal=portal)
    yield stage
    stage.close()


def test_the_attempt_log_says_what_was_sent_where_and_how_long_it_took(stage: Stage) -> None:
    """Every column of an attempt over a new connection is what the receiver saw."""
    peer = stage.enter(answering(OK))
    stage.add(f"http://127.0.0.1:{peer.port}/hook")

    assert stage.deliver()["delivered"] == 1

    (attempt,) = stage.attempts()
    body = peer.requests[0].partition(b"\r\n\r\n")[2]
    assert (attempt.trigger, attempt.status_code, attempt.detail) == ("schedule", 200, "ok")
    assert (attempt.remote_address, attempt.request_bytes) == ("127.0.0.1", len(body))
    assert attempt.request_sha256 == hashlib.sha256(body).hexdigest()
    phases = [attempt.dns_ms, attempt.connect_ms, attempt.first_byte_ms]
    assert all(one is not None and 0 <= one <= attempt.duration_ms for one in phases)


def test_a_row_whose_origin_was_computed_by_earlier_rules_is_delivered(stage: Stage) -> None:
    """It goes to the host of its hook, whatever its origin was called."""
    stage.nameservers = [stage.enter(name_server({"xn--fa-hia.test": [["127.0.0.1"]]})).address]
    peer = stage.enter(answering(OK))
    old = stage.add(f"http://faß.test:{peer.port}/", origin=f"http://fass.test:{peer.port}")
    new = stage.add(f"http://faß.test:{peer.port}/")

    assert stage.deliver()["delivered"] == 2

    assert stage.delivery(old).origin == f"http://fass.test:{peer.port}"
    assert stage.delivery(new).origin == f"http://xn--fa-hia.test:{peer.port}"
    assert {b"host: xn--fa-hia.test:%d" % peer.port in request for request in peer.requests} == {True}


@pytest.mark.parametrize("origin", ["http://xn--n3h.test:80", None], ids=["of then", "of now"])
def test_a_row_whose_host_is_none_any_more_is_discarded(stage: Stage, origin: str | None) -> None:
    """The reason says what is wrong with the hook, and the claim goes on to the next."""
    peer = stage.enter(answering(OK))
    delivery_id = stage.add("http://☃.test/hook", origin=origin)
    stage.add(f"http://127.0.0.1:{peer.port}/hook")

    assert stage.deliver() == {"attempts": 2, "delivered": 1, "retried": 0, "discarded": 1, "late": 0}

    assert stage.delivery(delivery_id).discard_reason == (
        "invalid_url: notify_hook: the host is no name that can be looked up, and no address"
    )


def test_a_stored_url_that_is_none_any_more_is_discarded(stage: Stage) -> None:
    """It has an origin that is no host's, and the claim goes on to the next."""
    peer = stage.enter(answering(OK))
    delivery_id = stage.add("http://[::1]x/")
    stage.add(f"http://127.0.0.1:{peer.port}/hook")

    assert stage.deliver() == {"attempts": 2, "delivered": 1, "retried": 0, "discarded": 1, "late": 0}

    assert (stage.delivery(delivery_id).discard_reason or "").startswith("invalid_url: notify_hook: ")


def test_a_lost_keep_alive_race_is_no_attempt(stage: Stage) -> None:
    """The receiver drops the connection when it is reused: the result arrives by its first attempt."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        connection.reset()

    peer = stage.enter(listen(script))
    for _ in range(2):
        stage.add(f"http://127.0.0.1:{peer.port}/hook")
        assert stage.deliver() == {"attempts": 1, "delivered": 1, "retried": 0, "discarded": 0, "late": 0}

    assert [attempt.status_code for attempt in stage.attempts()] == [200, 200]
    assert peer.accepts == 2


def test_fifty_silent_name_servers_delay_no_delivery(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A healthy delivery, due after fifty whose names never resolve, is recorded while all fifty wait."""
    monkeypatch.setattr(lookup, "LOOKUP_TIMEOUT", LOOKUP)
    silent = [f"silent{number}.test" for number in range(50)]
    zone: dict[str, list[Answers]] = {name: ["silence"] for name in silent}
    zone["healthy.test"] = [["127.0.0.1"]]
    stage.nameservers = [stage.enter(name_server(zone)).address]
    peer = stage.enter(answering(OK))
    for name in silent:
        stage.add(f"http://{name}:8080/hook")
    healthy = stage.add(f"http://healthy.test:{peer.port}/hook")

    counts = stage.deliver()

    assert (counts["delivered"], counts["retried"]) == (1, 50)
    first, *others = stage.attempts()
    assert (first.delivery_id, first.status_code) == (healthy, 200)
    assert {(one.error, one.detail) for one in others} == {
        ("dns_error", "the name servers did not answer in time")
    }
    assert all(one.dns_ms is not None and one.dns_ms >= LOOKUP / MILLISECOND for one in others)
    delivered_at = stage.delivery(healthy).delivered_at
    assert delivered_at is not None
    assert delivered_at - first.at < LOOKUP
