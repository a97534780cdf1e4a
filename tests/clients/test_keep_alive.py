"""A pooled connection that the receiver has just closed costs no attempt; whatever else dies, does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.clients.name_server import name_server
from tests.clients.peers import OK, Connection, Peer, answering, listen, server_tls, trusting_tls
from worker.clients import passage
from worker.clients.endpoint import EndpointClient, Post
from worker.clients.gateway import GatewayClient, GatewayTarget
from worker.core.addresses import Allow
from worker.core.lifecycle import Action
from worker.core.verdicts import Answered, Failed, PostError
from worker.core.wire import Bad, Fetch

pytestmark = pytest.mark.anyio

LONG = timedelta(seconds=30)  # a deadline that no test reaches
SHORT = timedelta(milliseconds=300)  # one that a test reaches
BODY = b'{"a":1}'
DELIVERED = Answered(status_code=200, retry_after=None, excerpt="ok")
RESET = Failed(error=PostError.RESET, detail="the connection was closed before an answer came")
Step = Callable[[Connection], Awaitable[None]]


async def serve(connection: Connection) -> None:
    """Answer one request."""
    await connection.request()
    await connection.send(OK)


async def close(connection: Connection) -> None:
    """Take a request and close instead of answering."""
    await connection.request()
    connection.writer.close()


async def reset(connection: Connection) -> None:
    """Take a request and reset instead of answering."""
    await connection.request()
    connection.reset()


async def begin(connection: Connection) -> None:
    """Begin an answer, reset in its first line."""
    await connection.request()
    await connection.send(b"HTT")
    await asyncio.sleep(0.05)  # a reset overtakes what lies in the client's buffer
    connection.reset()


async def hang(connection: Connection) -> None:
    """Take a request and never answer."""
    await connection.request()
    await asyncio.Event().wait()


@asynccontextmanager
async def doing(*connections: list[Step], tls: bool = False) -> AsyncIterator[Peer]:
    """Take the given steps on the first, second, … connection; all later connections are answered."""

    async def script(connection: Connection) -> None:
        steps = connections[peer.accepts - 1] if peer.accepts <= len(connections) else []
        for step in steps:
            await step(connection)
        while not connection.writer.is_closing():
            await serve(connection)

    async with listen(script, tls=server_tls() if tls else None) as peer:
        yield peer


@asynccontextmanager
async def endpoint_client(*, within: timedelta = LONG) -> AsyncIterator[EndpointClient]:
    """Give a client that may go to loopback."""
    client = EndpointClient(allow=Allow.parse(["127.0.0.0/8"]), timeout=within, ssl_context=trusting_tls())
    try:
        yield client
    finally:
        await client.close()


def post_to(peer: Peer, *, scheme: str = "http") -> Post:
    """Make a POST to a peer."""
    return Post(url=f"{scheme}://127.0.0.1:{peer.port}/", body=BODY, headers={})


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("death", [close, reset])
async def test_a_lost_race_is_tried_again_on_a_fresh_connection(death: Step, scheme: str) -> None:
    """The second post meets a connection that dies: it arrives over a new one, as one exchange."""
    async with endpoint_client() as client, doing([serve, death], tls=scheme == "https") as peer:
        first = await client.post(post_to(peer, scheme=scheme))
        second = await client.post(post_to(peer, scheme=scheme))
        third = await client.post(post_to(peer, scheme=scheme))
    assert [first.outcome, second.outcome, third.outcome] == [DELIVERED] * 3
    assert [first.reused, second.reused, third.reused] == [False, False, True]
    assert peer.accepts == 2


async def test_it_is_tried_again_once() -> None:
    """The fresh connection dies too: that is a failed attempt."""
    async with endpoint_client() as client, doing([serve, close], [close]) as peer:
        await client.post(post_to(peer))
        exchange = await client.post(post_to(peer))
    assert (exchange.outcome, exchange.reused) == (RESET, False)
    assert peer.accepts == 2


async def test_the_second_try_is_cut_like_the_first() -> None:
    """A flood over the fresh connection is named as what it is, not as a reset."""

    async def flood(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 100 \r\n\r\n" * 100)

    async with endpoint_client() as client, doing([serve, close], [flood]) as peer:
        await client.post(post_to(peer))
        exchange = await client.post(post_to(peer))
    assert exchange.outcome == Failed(
        error=PostError.PROTOCOL, detail="more came back than an answer may have"
    )
    assert peer.accepts == 2


async def test_a_fresh_connection_that_dies_is_a_failed_attempt() -> None:
    """There is no race without a pool."""
    async with endpoint_client() as client, doing([close]) as peer:
        exchange = await client.post(post_to(peer))
    assert exchange.outcome == RESET
    assert peer.accepts == 1


async def test_a_byte_of_an_answer_forbids_another_try() -> None:
    """A peer that began to answer has the request: its death in mid-answer is a failed attempt."""
    async with endpoint_client() as client, doing([serve, begin]) as peer:
        await client.post(post_to(peer))
        exchange = await client.post(post_to(peer))
    assert isinstance(exchange.outcome, Failed)
    assert exchange.outcome.error is PostError.RESET
    assert exchange.reused
    assert exchange.first_byte is not None
    assert peer.accepts == 1


async def test_a_death_after_a_second_is_a_failed_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that held the request for longer may have worked on it."""
    monkeypatch.setattr(passage, "RACE", timedelta(0))
    async with endpoint_client() as client, doing([serve, close]) as peer:
        await client.post(post_to(peer))
        exchange = await client.post(post_to(peer))
    assert (exchange.outcome, exchange.reused) == (RESET, True)
    assert peer.accepts == 1


async def test_both_tries_share_one_deadline() -> None:
    """The second try gets what the first has left of the time."""
    async with endpoint_client(within=SHORT) as client, doing([serve, close], [hang]) as peer:
        await client.post(post_to(peer))
        exchange = await client.post(post_to(peer))
    assert isinstance(exchange.outcome, Failed)
    assert exchange.outcome.error is PostError.DEADLINE
    assert SHORT <= exchange.duration < 2 * SHORT
    assert peer.accepts == 2


async def test_idle_connections_to_a_host_that_closed_one_are_not_trusted() -> None:
    """A restarted server has dropped all of them: the second try takes none, and meets no second race."""
    together = asyncio.Barrier(3)

    async def wait(connection: Connection) -> None:
        await connection.request()
        await together.wait()
        await connection.send(OK)

    async with endpoint_client() as client, doing([wait, close], [wait, close], [wait, close]) as peer:
        await asyncio.gather(*(client.post(post_to(peer)) for _ in range(3)))
        exchange = await client.post(post_to(peer))
        again = await client.post(post_to(peer))
    assert (exchange.outcome, again.outcome) == (DELIVERED, DELIVERED)
    assert (exchange.reused, again.reused) == (False, True)
    assert peer.accepts == 4


async def test_the_end_of_the_clients_is_no_race() -> None:
    """Closing the client cuts what is in flight and tries nothing again."""
    arrived = asyncio.Event()

    async def hold(connection: Connection) -> None:
        await connection.request()
        arrived.set()
        await connection.reader.read()

    async with endpoint_client() as client, doing([serve, hold]) as peer:
        await client.post(post_to(peer))
        posting = asyncio.create_task(client.post(post_to(peer)))
        await arrived.wait()
        await client.close()
        assert (await posting).outcome == RESET
    assert peer.accepts == 1


async def test_a_gateways_poll_profits_too() -> None:
    """A fetch over a connection that has just died is no trouble of the gateway's."""
    target = GatewayTarget(
        name="hub",
        base_url="",
        api_key="k",
        fetch=Fetch.BATCH,
        auth_header="Authorization",
        auth_prefix="Bearer ",
        timeout=LONG,
    )

    async def answer(connection: Connection) -> None:
        await connection.request()
        listed = b'{"code":"success","data":[]}'
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(listed)}\r\n\r\n"
        await connection.send(head.encode() + listed)

    client = GatewayClient()
    try:
        async with doing([answer, close], [answer]) as peer:
            there = replace(target, base_url=f"http://127.0.0.1:{peer.port}")
            replies = [
                reply
                for _ in range(2)
                async for _, reply in client.fetch(there, action=Action.MUSIC, task_ids=["a"])
            ]
    finally:
        await client.close()
    assert not any(isinstance(reply, Bad) for reply in replies)
    assert len(replies) == 2
    assert peer.accepts == 2


async def test_an_exchange_tells_where_the_time_went() -> None:
    """Look-up, connect and first byte of a new connection; only the last of a pooled one."""

    async def slowly(connection: Connection) -> None:
        await connection.request()
        await asyncio.sleep(0.1)
        await connection.send(OK)

    async with name_server({"receiver.test": [["127.0.0.1"]]}) as names, doing([slowly]) as peer:
        client = EndpointClient(allow=Allow.parse(["127.0.0.0/8"]), timeout=LONG, nameservers=[names.address])
        post = Post(url=f"http://receiver.test:{peer.port}/", body=BODY, headers={})
        new, pooled = await client.post(post), await client.post(post)
        await client.close()
    assert new.dns is not None
    assert new.connect is not None
    assert new.first_byte is not None
    assert new.first_byte >= timedelta(milliseconds=100)
    assert timedelta(0) < new.dns + new.connect + new.first_byte <= new.duration
    assert (pooled.dns, pooled.connect, pooled.reused) == (None, None, True)
    assert pooled.first_byte is not None
    assert {new.remote_address, pooled.remote_address} == {"127.0.0.1"}
    assert (new.request_bytes, new.request_sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())


async def test_a_failed_look_up_has_lasted_until_its_end() -> None:
    """There is no address and no connection, and the time went into the name."""
    async with name_server({}) as names:
        client = EndpointClient(allow=Allow(), timeout=LONG, nameservers=[names.address])
        exchange = await client.post(Post(url="http://missing.test/", body=BODY, headers={}))
        await client.close()
    assert isinstance(exchange.outcome, Failed)
    assert exchange.dns is not None
    assert timedelta(0) < exchange.dns <= exchange.duration
    assert (exchange.connect, exchange.first_byte, exchange.remote_address) == (None, None, None)


async def test_a_refused_connection_names_the_address_that_was_tried() -> None:
    """The operator sees which machine refused."""
    async with answering(OK) as peer:
        pass
    async with endpoint_client() as client:
        exchange = await client.post(post_to(peer))
    assert isinstance(exchange.outcome, Failed)
    assert exchange.outcome.error is PostError.REFUSED
    assert exchange.remote_address == "127.0.0.1"
    assert exchange.connect is not None
    assert exchange.first_byte is None


async def test_what_is_never_sent_has_no_way() -> None:
    """A URL that cannot be used has only a duration, and what would have been sent."""
    async with endpoint_client() as client:
        exchange = await client.post(Post(url="ftp://127.0.0.1/", body=BODY, headers={}))
    assert isinstance(exchange.outcome, Failed)
    assert (exchange.dns, exchange.connect, exchange.first_byte) == (None, None, None)
    assert (exchange.remote_address, exchange.reused, exchange.request_bytes) == (None, False, len(BODY))
