from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Self

import pytest

from tests.clients.hostile import say_nothing
from tests.clients.peers import OK, Peer, answering, listen
from worker.clients.connections import default_ssl_context
from worker.clients.endpoint import Post
from worker.clients.pool import Clients, clients, close_clients
from worker.clients.portal import Portal, PortalClosed
from worker.core.addresses import Allow
from worker.core.verdicts import Answered, Failed, PostError, PostOutcome

TIMEOUT = timedelta(seconds=15)
LOOPBACK = Allow.parse(["127.0.0.0/8"])


@pytest.fixture(autouse=True)
def _no_clients_left() -> Iterator[None]:
    """Close the process's clients after the test."""
    yield
    close_clients()


def test_a_process_has_one_pair() -> None:
    """All threads share one pair, on one portal."""
    with ThreadPoolExecutor(8) as threads:
        first, *others = threads.map(lambda _: clients(allow=LOOPBACK, webhook_timeout=TIMEOUT), range(32))
    assert all(other is first for other in others)


def test_other_settings_are_a_mistake() -> None:
    """Asking for a second configuration raises instead of handing out the first in silence."""
    first = clients(allow=LOOPBACK, webhook_timeout=TIMEOUT)
    with pytest.raises(RuntimeError, match="clients with other settings"):
        clients(allow=Allow(), webhook_timeout=TIMEOUT)
    close_clients()
    assert clients(allow=Allow(), webhook_timeout=TIMEOUT) is not first


def test_one_tls_context_serves_the_process() -> None:
    """Building one costs 25 ms: it is built once."""
    assert default_ssl_context() is default_ssl_context()


def test_the_pair_works_from_synchronous_code_and_ends() -> None:
    """A thread posts through the portal; after the end its portal refuses."""
    with Receiver() as receiver:
        pair = clients(allow=LOOPBACK, webhook_timeout=TIMEOUT)
        post = Post(url=f"http://127.0.0.1:{receiver.peer.port}/", body=b"{}", headers={})
        assert pair.portal.submit(pair.endpoint.post(post)).result().outcome == Answered(
            status_code=200, retry_after=None, excerpt="ok"
        )
        close_clients()
        with pytest.raises(PortalClosed):
            pair.portal.submit(pair.endpoint.post(post))


def test_closing_ends_what_is_in_flight() -> None:
    """A post that hangs does not hold the end of the process: it fails like any broken connection."""
    portal = Portal.start()
    pair = Clients.open(portal=portal, allow=LOOPBACK, webhook_timeout=TIMEOUT)
    in_flight = threading.Event()

    async def hang() -> PostOutcome:
        async with listen(say_nothing) as peer:
            post = Post(url=f"http://127.0.0.1:{peer.port}/", body=b"{}", headers={})
            posting = asyncio.ensure_future(pair.endpoint.post(post))
            await peer.accepted.wait()
            in_flight.set()
            return (await posting).outcome

    hanging = portal.submit(hang())
    in_flight.wait()
    pair.close()
    assert hanging.result() == Failed(
        error=PostError.RESET, detail="the connection was closed before an answer came"
    )
    portal.close()


class Receiver:
    """A peer that answers 200, on an event loop of its own."""

    peer: Peer

    def __enter__(self) -> Self:
        self._portal = Portal.start()
        self._serving = answering(OK)
        self.peer = self._portal.submit(self._serving.__aenter__()).result()
        return self

    def __exit__(self, *_: object) -> None:
        self._portal.submit(self._serving.__aexit__(None, None, None)).result()
        self._portal.close()
