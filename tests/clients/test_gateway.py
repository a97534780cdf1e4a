from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.clients.hostile import (
    close_without_answer,
    continue_fast,
    drip_body,
    drip_head,
    endless_body,
    endless_chunk_extension,
    endless_header,
    endless_trailers,
    reset_mid_body,
    say_nothing,
    saying,
)
from tests.clients.name_server import name_server
from tests.clients.peers import OK, Script, answer, answering, listen, server_tls, trusting_tls
from worker.clients.gateway import GatewayClient, GatewayTarget
from worker.core.lifecycle import Absent, Action, Seen, Status
from worker.core.wire import Bad, Fetch, Good, Reply, Trouble
from worker.version import __version__

pytestmark = pytest.mark.anyio

KEY = "sk-very-secret"
EMPTY = answer(b'{"code":"success","message":"","data":[]}')
ODD_IDS = [
    ".",
    "..",
    "a/b",
    "../../x",
    "a b",
    "%2E",
    "%",
    "ä/歌",
    "?q#f",
    "a+b&c=d",
    "...",
    "\U0001f3b5",
    "'\"<>\\",
]


def target_of(port: int, *, fetch: Fetch = Fetch.BATCH, within: float = 30) -> GatewayTarget:
    """Make a gateway on loopback."""
    return GatewayTarget(
        name="hub",
        base_url=f"http://127.0.0.1:{port}",
        api_key=KEY,
        fetch=fetch,
        auth_header="Authorization",
        auth_prefix="Bearer ",
        timeout=timedelta(seconds=within),
    )


@asynccontextmanager
async def gateway_client(*, tls: bool = False, names: str | None = None) -> AsyncIterator[GatewayClient]:
    """Give a client."""
    client = GatewayClient(
        nameservers=None if names is None else [names], ssl_context=trusting_tls() if tls else None
    )
    try:
        yield client
    finally:
        await client.close()


async def replies(
    client: GatewayClient,
    target: GatewayTarget,
    *,
    task_ids: Sequence[str] = ("a",),
    action: Action = Action.MUSIC,
) -> list[tuple[tuple[str, ...], Reply]]:
    """Fetch and collect all replies."""
    return [reply async for reply in client.fetch(target, action=action, task_ids=task_ids)]


async def only_reply(client: GatewayClient, target: GatewayTarget) -> Reply:
    """Fetch one id and return the one reply."""
    ((_, reply),) = await replies(client, target)
    return reply


def new_api_item(task_id: str, status: str) -> dict[str, object]:
    """Write a task as gateways of the New-API line do."""
    return {"task_id": task_id, "status": status, "progress": "30%", "fail_reason": "", "data": None}


async def test_a_batch_is_one_post_with_all_ids() -> None:
    """The request is what the gateways' documents ask for, and the one reply is about all ids."""
    body = json.dumps({"code": "success", "data": [new_api_item("b", "IN_PROGRESS")]}).encode()
    async with gateway_client() as client, answering(answer(body)) as peer:
        got = await replies(client, target_of(peer.port), task_ids=["a", "b"], action=Action.LYRICS)
    ((ids, reply),) = got
    assert ids == ("a", "b")
    assert isinstance(reply, Good)
    assert reply.observations["a"] == Absent()
    seen = reply.observations["b"]
    assert isinstance(seen, Seen)
    assert (seen.status, seen.progress) == (Status.IN_PROGRESS, 30)
    (request,) = peer.requests
    head, _, sent = request.partition(b"\r\n\r\n")
    request_line, *lines = head.decode().split("\r\n")
    assert request_line == "POST /suno/fetch HTTP/1.1"
    assert json.loads(sent) == {"ids": ["a", "b"], "action": "LYRICS"}
    assert sorted(line.lower() for line in lines) == [
        "accept-encoding: identity",
        "accept: application/json",
        f"authorization: bearer {KEY}",
        f"content-length: {len(sent)}",
        "content-type: application/json",
        f"host: 127.0.0.1:{peer.port}",
        f"user-agent: suno-worker/{__version__}",
    ]


async def test_single_asks_one_id_after_the_other() -> None:
    """Each id is one GET without a body, each reply comes with its id, over one connection."""
    bodies = [
        answer(json.dumps({"code": "success", "data": new_api_item(task_id, "SUBMITTED")}).encode())
        for task_id in ("a", "b")
    ]
    async with gateway_client() as client, answering(*bodies) as peer:
        got = await replies(client, target_of(peer.port, fetch=Fetch.SINGLE), task_ids=["a", "b"])
    assert [ids for ids, _ in got] == [("a",), ("b",)]
    assert all(isinstance(reply, Good) for _, reply in got)
    assert [request.split(b"\r\n")[0] for request in peer.requests] == [
        b"GET /suno/fetch/a HTTP/1.1",
        b"GET /suno/fetch/b HTTP/1.1",
    ]
    assert b"content-type" not in peer.requests[0].lower()
    assert peer.accepts == 1


async def test_single_stops_at_the_first_trouble() -> None:
    """A gateway in trouble is asked no further; ids after it have no reply."""
    good = answer(json.dumps({"code": "success", "data": new_api_item("a", "SUBMITTED")}).encode())
    async with gateway_client() as client, answering(good, answer(b"", status="500 X")) as peer:
        got = await replies(client, target_of(peer.port, fetch=Fetch.SINGLE), task_ids=["a", "b", "c", "d"])
    assert [(ids, type(reply)) for ids, reply in got] == [(("a",), Good), (("b",), Bad)]
    assert len(peer.requests) == 2


@pytest.mark.parametrize("task_id", ODD_IDS)
async def test_any_id_arrives_as_one_path_segment(task_id: str) -> None:
    """Dots, slashes, escapes and foreign letters reach the gateway undamaged: it reads our id."""
    async with gateway_client() as client, answering(EMPTY) as peer:
        await replies(client, target_of(peer.port, fetch=Fetch.SINGLE), task_ids=[task_id])
    path = peer.requests[0].split(b" ")[1].decode("ascii")
    assert path.count("/") == 3
    assert not {"?", "#"} & set(path)
    last = path.rpartition("/")[2]
    assert last not in {".", ".."}
    assert decoded(last) == task_id


def decoded(segment: str) -> str:
    """Undo percent-encoding exactly once, byte by byte."""
    parts = segment.split("%")
    octets = [parts[0].encode(), *(bytes.fromhex(part[:2]) + part[2:].encode() for part in parts[1:])]
    return b"".join(octets).decode()


async def test_ids_in_a_batch_are_json_strings() -> None:
    """Quotes, escapes and foreign letters in an id survive the body too."""
    async with gateway_client() as client, answering(EMPTY) as peer:
        await replies(client, target_of(peer.port), task_ids=ODD_IDS)
    assert json.loads(peer.requests[0].partition(b"\r\n\r\n")[2]) == {"ids": ODD_IDS, "action": "MUSIC"}


@pytest.mark.parametrize(
    ("header", "prefix", "line"),
    [
        ("Authorization", "", b"authorization: sk-very-secret"),
        ("X-Api-Key", "", b"x-api-key: sk-very-secret"),
        ("authorization", "Token ", b"authorization: token sk-very-secret"),
    ],
)
async def test_the_key_goes_where_the_gateway_wants_it(header: str, prefix: str, line: bytes) -> None:
    """Header name and prefix are settings."""
    async with gateway_client() as client, answering(EMPTY) as peer:
        await replies(client, replace(target_of(peer.port), auth_header=header, auth_prefix=prefix))
    assert line in peer.requests[0].lower().split(b"\r\n")


@pytest.mark.parametrize(
    "key", ["sk-secret\n", "sk\r\nX-Evil: 1", "sk-sécret", "sk\x00", "\U0001f511"], ids=ascii
)
async def test_a_key_that_no_header_can_carry_is_a_bad_reply(key: str) -> None:
    """Nothing is sent, nothing is raised, and the message does not repeat the key."""
    async with gateway_client() as client, answering(EMPTY) as peer:
        reply = await only_reply(client, replace(target_of(peer.port), api_key=key))
    assert isinstance(reply, Bad)
    assert reply.trouble is Trouble.UNAUTHORIZED
    assert "not asked: the API key or its header holds characters that HTTP forbids there" in reply.message
    assert key not in reply.message
    assert peer.accepts == 0


@pytest.mark.parametrize("header", ["", "X Key", "X:Key", "X-Key\r\nY"])
async def test_a_header_name_that_http_forbids_is_a_bad_reply(header: str) -> None:
    """The same for the setting that names the header."""
    async with gateway_client() as client, answering(EMPTY) as peer:
        reply = await only_reply(client, replace(target_of(peer.port), auth_header=header))
    assert isinstance(reply, Bad)
    assert peer.accepts == 0


@pytest.mark.parametrize("fetch", Fetch)
@pytest.mark.parametrize("status", ["401 Unauthorized", "502 Bad Gateway", "200 OK"])
async def test_a_gateway_that_says_our_key_back_is_not_quoted(fetch: Fetch, status: str) -> None:
    """A complaint is kept and shown to operators: it holds no key, of whatever shape, not even its start."""
    key = "of-no-shape/" + 20 * "0123456789"
    said = json.dumps({"code": "fail", "message": f"the key {key} is unknown"}).encode()
    async with gateway_client() as client, listen(saying(answer(said, status=status))) as peer:
        target = replace(target_of(peer.port, fetch=fetch), api_key=key, auth_prefix="")
        reply = await only_reply(client, target)

    assert isinstance(reply, Bad)
    assert "the key *** is unknown" in reply.message
    assert "of-no-shape" not in reply.message


def test_the_key_is_not_in_the_repr() -> None:
    """A target may be logged."""
    assert KEY not in repr(target_of(1))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """It is trouble that hints at the base URL, and the key goes nowhere else."""
    async with gateway_client() as client, answering(EMPTY) as elsewhere:
        where = f"Location: http://127.0.0.1:{elsewhere.port}/suno/fetch"
        async with answering(answer(b"", status=f"{status} X", headers=where)) as peer:
            reply = await only_reply(client, target_of(peer.port))
    assert reply == Bad(
        trouble=Trouble.NOT_FOUND,
        message=f"answered {status}, a redirect, which is not followed: wrong base URL?",
    )
    assert elsewhere.accepts == 0


@pytest.mark.parametrize("fetch", list(Fetch))
@pytest.mark.parametrize(
    ("script", "trouble"),
    [
        pytest.param(close_without_answer, Trouble.NETWORK, id="closed"),
        pytest.param(reset_mid_body, Trouble.NETWORK, id="reset in the body"),
        pytest.param(endless_header, Trouble.NETWORK, id="endless header"),
        pytest.param(endless_trailers, Trouble.NETWORK, id="endless trailers"),
        pytest.param(endless_chunk_extension, Trouble.NETWORK, id="endless chunk extension"),
        pytest.param(saying(b"SSH-2.0-OpenSSH_9.2p1\r\n"), Trouble.NETWORK, id="another protocol"),
        pytest.param(say_nothing, Trouble.TIMEOUT, id="silence"),
        pytest.param(drip_head, Trouble.TIMEOUT, id="dripping head"),
        pytest.param(drip_body, Trouble.TIMEOUT, id="dripping body"),
        pytest.param(continue_fast, Trouble.NETWORK, id="flood of 1xx"),
    ],
)
async def test_network_trouble_is_a_value(script: Script, trouble: Trouble, fetch: Fetch) -> None:
    """Whatever the network does ends within the deadline as Bad, without key or address in its message."""
    within = 0.2 if trouble is Trouble.TIMEOUT else 30
    async with gateway_client() as client, listen(script) as peer:
        reply = await only_reply(client, target_of(peer.port, fetch=fetch, within=within))
    assert isinstance(reply, Bad)
    assert reply.trouble is trouble
    assert KEY not in reply.message
    assert "127.0.0.1" not in reply.message


async def test_a_closed_port_is_network_trouble() -> None:
    """The message says what the operator must look at."""
    async with answering(OK) as peer:
        pass
    async with gateway_client() as client:
        reply = await only_reply(client, target_of(peer.port))
    assert reply == Bad(trouble=Trouble.NETWORK, message="the connection was refused")


async def test_an_unknown_name_is_network_trouble() -> None:
    """A gateway whose name is gone says so."""
    async with name_server({}) as names, gateway_client(names=names.address) as client:
        reply = await only_reply(client, replace(target_of(1), base_url="http://missing.test"))
    assert reply == Bad(trouble=Trouble.NETWORK, message="the host name has no address")


@pytest.mark.parametrize("url", ["http://[::1", "ftp://127.0.0.1", "", "http://127.0.0.1:99999"])
async def test_a_broken_base_url_is_network_trouble(url: str) -> None:
    """Settings refuse such URLs; if one comes through, it is a value all the same."""
    async with gateway_client() as client:
        reply = await only_reply(client, replace(target_of(1), base_url=url))
    assert isinstance(reply, Bad)
    assert reply.trouble is Trouble.NETWORK


async def test_https_is_verified() -> None:
    """The key is sent only to a gateway whose certificate is trusted."""
    async with answering(EMPTY, tls=server_tls()) as peer:
        target = replace(target_of(peer.port), base_url=f"https://127.0.0.1:{peer.port}")
        async with gateway_client() as client:
            refused = await only_reply(client, target)
        assert peer.requests == []
        async with gateway_client(tls=True) as client:
            accepted = await only_reply(client, target)
    assert refused == Bad(
        trouble=Trouble.NETWORK, message="the certificate is not accepted: self-signed certificate"
    )
    assert isinstance(accepted, Good)


async def test_an_endless_answer_is_too_large() -> None:
    """Reading stops after 32 MiB."""
    async with gateway_client() as client, listen(endless_body) as peer:
        reply = await only_reply(client, target_of(peer.port))
    assert reply == Bad(trouble=Trouble.TOO_LARGE, message="the answer is larger than 32 MiB")


async def test_a_compressed_answer_is_unpacked() -> None:
    """Some proxies compress unasked; what they send is read."""
    packed = gzip.compress(json.dumps({"code": "success", "data": [new_api_item("a", "SUCCESS")]}).encode())
    async with (
        gateway_client() as client,
        answering(answer(packed, headers="Content-Type: application/json\r\nContent-Encoding: gzip")) as peer,
    ):
        reply = await only_reply(client, target_of(peer.port))
    assert isinstance(reply, Good)
    assert isinstance(reply.observations["a"], Seen)


async def test_a_gzip_bomb_is_too_large() -> None:
    """Unpacking stops after 32 MiB too."""
    bomb = zlib.compress(b" " * (40 << 20))
    async with (
        gateway_client() as client,
        answering(answer(bomb, headers="Content-Encoding: deflate")) as peer,
    ):
        reply = await only_reply(client, target_of(peer.port))
    assert reply == Bad(trouble=Trouble.TOO_LARGE, message="the answer is larger than 32 MiB")


async def test_an_unknown_compression_is_trouble() -> None:
    """What cannot be unpacked is not JSON to us."""
    async with (
        gateway_client() as client,
        answering(answer(b"\x0b\x02", headers="Content-Encoding: br")) as peer,
    ):
        reply = await only_reply(client, target_of(peer.port))
    assert reply == Bad(
        trouble=Trouble.NOT_JSON, message="the answer is compressed in a way that was not asked for"
    )


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ("Retry-After: 120", timedelta(seconds=120)),
        ("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: 120", timedelta(seconds=120)),
        (
            "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:51:37 GMT",
            timedelta(seconds=120),
        ),
        ("Date: yesterday\r\nRetry-After: Sun, 06 Nov 2094 08:51:37 GMT", None),
        (
            "Date: Sun, 06 Nov 1994 08:49:37 -0000\r\nRetry-After: Sun, 06 Nov 1994 08:51:37 GMT",
            timedelta(seconds=120),
        ),
        ("Retry-After: Sun, 06 Nov 2094 08:51:37 GMT", None),
        ("Retry-After: soon", None),
        ("X-Nothing: 1", None),
    ],
)
async def test_retry_after_is_held_against_the_gateways_clock(headers: str, wait: timedelta | None) -> None:
    """Seconds count as they are; a date counts from the answer's own Date, so no clock of ours is asked."""
    async with gateway_client() as client, answering(answer(b"", status="429 X", headers=headers)) as peer:
        reply = await only_reply(client, target_of(peer.port))
    assert isinstance(reply, Bad)
    assert (reply.trouble, reply.retry_after) == (Trouble.RATE_LIMITED, wait)


async def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key goes to the configured gateway and to nobody between."""
    async with answering(EMPTY) as proxy, answering(EMPTY) as peer:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with gateway_client() as client:
            await only_reply(client, target_of(peer.port))
    assert (proxy.accepts, peer.accepts) == (0, 1)


async def test_a_hanging_gateway_delays_nobody() -> None:
    """While 50 requests hang at one gateway, another one answers."""
    async with gateway_client() as client, listen(say_nothing) as dead, answering(EMPTY) as healthy:
        hanging = [asyncio.create_task(only_reply(client, target_of(dead.port))) for _ in range(50)]
        await dead.accepted.wait()
        reply = await only_reply(client, target_of(healthy.port))
        assert not any(task.done() for task in hanging)
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)
    assert isinstance(reply, Good)
