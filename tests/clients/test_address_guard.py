from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta

import pytest

from tests.clients.name_server import Answers, NameServer, name_server
from tests.clients.peers import OK, Connection, Peer, answering, listen
from worker.clients.address_guard import ForbiddenAddress, guarded_socket
from worker.clients.connections import Connections
from worker.clients.endpoint import EndpointClient, Post
from worker.clients.failures import explain
from worker.clients.lookup import Lookup
from worker.clients.passage import Passage
from worker.clients.response import Response
from worker.clients.target import Target, compose
from worker.core.addresses import Allow
from worker.core.verdicts import Answered, Failed, PostError, PostOutcome

pytestmark = pytest.mark.anyio

NOBODY = Allow()
LONG = timedelta(seconds=30)
# 127.0.0.2 stands for the public internet: an address that the guard lets pass and that a test can listen on.
PUBLIC = "127.0.0.2"
SECOND_ONLY = Allow.parse([f"{PUBLIC}/32"])
DELIVERED = Answered(status_code=200, retry_after=None, excerpt="ok")
BLOCKED = Failed(
    error=PostError.BLOCKED_ADDRESS,
    detail="the host leads to an address that is not public; WORKER_WEBHOOK_ALLOW opens exceptions",
)


@asynccontextmanager
async def client_of(names: NameServer | None = None, *, allow: Allow) -> AsyncIterator[EndpointClient]:
    """Give a client that asks `names`, or the system."""
    client = EndpointClient(
        allow=allow,
        timeout=LONG,
        nameservers=None if names is None else [names.address],
    )
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def both_loopbacks() -> AsyncIterator[list[Peer]]:
    """Listen on one port of 127.0.0.1 and of ::1, where the machine has IPv6."""
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(answering(OK))]
        with suppress(OSError):
            peers.append(await stack.enter_async_context(answering(OK, host="::1", port=peers[0].port)))
        yield peers


async def send(client: EndpointClient, post: Post) -> PostOutcome:
    """Post and return the outcome alone."""
    return (await client.post(post)).outcome


def post_to(host: str, port: int) -> Post:
    """Make a POST to a host on any port."""
    return Post(url=f"http://{host}:{port}/", body=b"{}", headers={})


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::1%25lo]",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "127.0.0.1%20",
        "①②⑦.⓪.⓪.①",
        "169.254.169.254",
        "10.0.0.1",
    ],
)
async def test_no_form_of_a_forbidden_address_is_connected_to(host: str) -> None:
    """However loopback is written, the post fails for good and not one TCP connect is made."""
    async with name_server({}) as names, client_of(names, allow=NOBODY) as client, both_loopbacks() as peers:
        outcome = await send(client, post_to(host, peers[0].port))
    assert isinstance(outcome, Failed)
    assert outcome.error in {PostError.BLOCKED_ADDRESS, PostError.INVALID_URL, PostError.DNS}
    assert [peer.accepts for peer in peers] == [0] * len(peers)


@pytest.mark.parametrize("allowed", ["127.0.0.0/8", "127.0.0.1"])
async def test_an_allowed_network_opens_its_literals(allowed: str) -> None:
    """WORKER_WEBHOOK_ALLOW takes networks and single addresses."""
    async with client_of(allow=Allow.parse([allowed])) as client, both_loopbacks() as peers:
        port = peers[0].port
        assert await send(client, post_to("127.0.0.1", port)) == DELIVERED
        assert await send(client, post_to("[::1]", port)) == BLOCKED
    assert [peer.accepts for peer in peers] == [1, 0][: len(peers)]


async def test_an_allowed_ipv6_address_is_connected_to() -> None:
    """IPv6 literals work like IPv4's where the machine has them."""
    async with client_of(allow=Allow.parse(["::1", "127.0.0.1"])) as client, both_loopbacks() as peers:
        literals = ["127.0.0.1", "[::1]"][: len(peers)]
        outcomes = [await send(client, post_to(literal, peers[0].port)) for literal in literals]
    assert outcomes == [DELIVERED] * len(peers)


async def test_localhost_works_when_allowed_by_name() -> None:
    """Names of /etc/hosts are known, and a host allowed by name is connected to wherever it leads."""
    async with client_of(allow=Allow.parse(["localhost"])) as client, answering(OK) as peer:
        assert await send(client, post_to("localhost", peer.port)) == DELIVERED
        assert isinstance(await send(client, post_to("127.0.0.1", peer.port)), Failed)
    assert peer.accepts == 1


async def test_a_name_is_judged_by_its_addresses() -> None:
    """A private answer refuses the name, a permitted one is connected to, an allowed name is not judged."""
    zone = {"inside.test": [["127.0.0.1"]], "outside.test": [[PUBLIC]], "trusted.test": [["127.0.0.1"]]}
    allow = Allow.parse([PUBLIC, "trusted.test"])
    async with (
        name_server(zone) as names,
        client_of(names, allow=allow) as client,
        answering(OK) as inside,
        answering(OK, host=PUBLIC, port=inside.port) as outside,
    ):
        assert await send(client, post_to("inside.test", inside.port)) == BLOCKED
        assert (inside.accepts, outside.accepts) == (0, 0)
        assert await send(client, post_to("outside.test", outside.port)) == DELIVERED
        assert (inside.accepts, outside.accepts) == (0, 1)
        assert await send(client, post_to("trusted.test", inside.port)) == DELIVERED
        assert (inside.accepts, outside.accepts) == (1, 1)


@pytest.mark.parametrize(
    "addresses",
    [[PUBLIC, "127.0.0.1"], ["127.0.0.1", PUBLIC], [PUBLIC, "::1"], [PUBLIC, "10.0.0.1", "fd00::1"]],
    ids=str,
)
async def test_one_forbidden_address_refuses_the_whole_name(addresses: list[str]) -> None:
    """A name with mixed answers is not tried at its good ones."""
    async with (
        name_server({"mixed.test": [addresses]}) as names,
        client_of(names, allow=SECOND_ONLY) as client,
        answering(OK) as inside,
        answering(OK, host=PUBLIC, port=inside.port) as outside,
    ):
        assert await send(client, post_to("mixed.test", inside.port)) == BLOCKED
    assert (inside.accepts, outside.accepts) == (0, 0)


async def test_an_answer_that_changes_is_judged_again() -> None:
    """Rebinding: the connection goes to the address that was judged, and the next look-up is judged anew."""
    async with (
        name_server({"moving.test": [[PUBLIC], ["127.0.0.1"]]}) as names,
        answering(OK) as inside,
        answering(OK, host=PUBLIC, port=inside.port) as outside,
    ):
        async with client_of(names, allow=SECOND_ONLY) as client:
            assert await send(client, post_to("moving.test", inside.port)) == DELIVERED
        assert names.lookups("moving.test") == 1
        async with client_of(names, allow=SECOND_ONLY) as client:
            assert await send(client, post_to("moving.test", inside.port)) == BLOCKED
        assert names.lookups("moving.test") == 2
    assert (inside.accepts, outside.accepts) == (0, 1)


async def test_an_answer_that_moves_back_and_forth_never_leads_inside() -> None:
    """Rebinding at every look-up: each one is judged by itself, and inside nobody is ever connected to."""
    rounds = 10
    zone: dict[str, list[Answers]] = {"moving.test": [[PUBLIC], ["127.0.0.1"]] * rounds}
    outcomes = []
    async with (
        name_server(zone) as names,
        answering(OK) as inside,
        answering(OK, host=PUBLIC, port=inside.port) as outside,
    ):
        for _ in range(2 * rounds):
            async with client_of(names, allow=SECOND_ONLY) as client:
                outcomes.append(await send(client, post_to("moving.test", inside.port)))
    assert outcomes == [DELIVERED, BLOCKED] * rounds
    assert (inside.accepts, outside.accepts) == (0, rounds)


async def test_new_connections_go_to_the_judged_address_while_the_name_moves() -> None:
    """One client, a receiver that closes after each answer, a name that moved inside after the first look."""
    closing = OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    async with (
        name_server({"moving.test": [[PUBLIC], ["127.0.0.1"]]}) as names,
        client_of(names, allow=SECOND_ONLY) as client,
        answering(OK) as inside,
        answering(closing, host=PUBLIC, port=inside.port) as outside,
    ):
        exchanges = [await client.post(post_to("moving.test", inside.port)) for _ in range(3)]
    assert [exchange.outcome for exchange in exchanges] == [DELIVERED] * 3
    assert {exchange.remote_address for exchange in exchanges} == {PUBLIC}
    assert (inside.accepts, outside.accepts) == (0, 3)


async def test_the_second_try_after_a_lost_race_is_guarded_too() -> None:
    """A receiver that drops its connection to be looked up again gains nothing by it."""

    async def drop(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await connection.request()
        connection.reset()

    async with (
        name_server({"moving.test": [[PUBLIC], ["127.0.0.1"]]}) as names,
        client_of(names, allow=SECOND_ONLY) as client,
        answering(OK) as inside,
        listen(drop, host=PUBLIC, port=inside.port) as outside,
    ):
        exchanges = [await client.post(post_to("moving.test", inside.port)) for _ in range(2)]
    assert [exchange.outcome for exchange in exchanges] == [DELIVERED] * 2
    assert (inside.accepts, outside.accepts) == (0, 2)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "lying.test"])
async def test_the_socket_is_refused_even_if_all_else_lets_the_address_pass(host: str) -> None:
    """The second fence holds alone: without rules for URLs and with a look-up that judges nothing."""
    async with name_server({"lying.test": [["127.0.0.1"]]}) as names, both_loopbacks() as peers:
        lookup = Lookup(nameservers=[names.address])
        connections = Connections(
            resolver=lookup, socket_factory=guarded_socket(allow=NOBODY), keep_alive=timedelta(seconds=1)
        )
        target = Target.of(f"http://{host}:{peers[0].port}/")
        try:
            with pytest.raises(ForbiddenAddress) as caught:
                await connections.ask(
                    target.peer,
                    compose("POST", target, headers={}, body=b""),
                    answer=Response(body_limit=1024, most_bytes=1024),
                    passage=Passage(),
                    connect=LONG,
                    read=LONG,
                )
        finally:
            await connections.close()
            await lookup.close()
    assert explain(caught.value) == BLOCKED
    assert [peer.accepts for peer in peers] == [0] * len(peers)


async def test_the_next_address_of_a_name_is_tried() -> None:
    """One dead machine of two does not fail a post; both dead are refused."""
    dead = "127.0.0.3"
    zone: dict[str, list[Answers]] = {"half.test": [[dead, PUBLIC]], "dead.test": [[dead, "127.0.0.4"]]}
    allow = Allow.parse(["127.0.0.0/8"])
    async with (
        name_server(zone) as names,
        client_of(names, allow=allow) as client,
        answering(OK, host=PUBLIC) as peer,
    ):
        assert await send(client, post_to("half.test", peer.port)) == DELIVERED
        assert await send(client, post_to("dead.test", peer.port)) == Failed(
            error=PostError.REFUSED, detail="the connection was refused"
        )


async def test_the_operator_reads_the_address_and_the_author_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log names the forbidden address; the outcome, which a stranger may see, does not."""
    caplog.set_level(logging.INFO)
    async with (
        name_server({"inside.test": [["10.1.2.3"]]}) as names,
        client_of(names, allow=NOBODY) as client,
    ):
        outcome = await send(client, post_to("inside.test", 8080))
    assert outcome == BLOCKED
    assert caplog.messages == ["no connection to 'inside.test': it resolves to 10.1.2.3, not public"]


async def test_a_name_without_address_is_a_dns_error() -> None:
    """NXDOMAIN and an empty answer are the same to us."""
    async with name_server({"empty.test": [[]]}) as names, client_of(names, allow=NOBODY) as client:
        outcomes = [await send(client, post_to(name, 8080)) for name in ("missing.test", "empty.test")]
    assert outcomes == [Failed(error=PostError.DNS, detail="the host name has no address")] * 2


async def test_a_name_server_that_fails_is_a_dns_error() -> None:
    """SERVFAIL is told apart from a name that does not exist."""
    async with name_server({"sick.test": ["failure"]}) as names, client_of(names, allow=NOBODY) as client:
        outcome = await send(client, post_to("sick.test", 8080))
    assert outcome == Failed(error=PostError.DNS, detail="the name servers could not answer")


@pytest.mark.parametrize(
    "host", ["a" * 64 + ".test", ".".join(["a" * 60] * 6), "a..test", "-.test", "a_b.test"]
)
async def test_an_impossible_name_is_a_failure(host: str) -> None:
    """Names that no server can hold end as a word."""
    async with name_server({}) as names, client_of(names, allow=NOBODY) as client:
        outcome = await send(client, post_to(host, 8080))
    assert isinstance(outcome, Failed)
    assert outcome.error in {PostError.DNS, PostError.INVALID_URL}


async def test_a_silent_name_server_is_a_dns_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up ends within its own time and says what was silent."""
    monkeypatch.setattr("worker.clients.lookup.LOOKUP_TIMEOUT", timedelta(milliseconds=100))
    async with name_server({"slow.test": ["silence"]}) as names, client_of(names, allow=NOBODY) as client:
        outcome = await send(client, post_to("slow.test", 8080))
    assert outcome == Failed(error=PostError.DNS, detail="the name servers did not answer in time")


async def test_fifty_silent_name_servers_stop_nobody() -> None:
    """While 50 look-ups hang, another name is looked up and posted to; the 50 can be cancelled at once."""
    silent = [f"silent{number}.test" for number in range(50)]
    zone: dict[str, list[Answers]] = {name: ["silence"] for name in silent}
    zone["healthy.test"] = [[PUBLIC]]
    async with (
        name_server(zone) as names,
        client_of(names, allow=SECOND_ONLY) as client,
        answering(OK, host=PUBLIC) as healthy,
    ):
        hanging = [asyncio.create_task(client.post(post_to(name, 8080))) for name in silent]
        await names.until_asked(silent)
        assert await send(client, post_to("healthy.test", healthy.port)) == DELIVERED
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        ends = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends)
