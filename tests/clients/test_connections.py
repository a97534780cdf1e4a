"""What a pool does with its connections between requests, and with the names it has looked up."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from aiohappyeyeballs import AddrInfoType, SocketFactoryType

from tests.clients.hostile import hold_tls_open
from tests.clients.name_server import name_server
from tests.clients.peers import OK, Connection, Peer, answering, listen, server_tls, trusting_tls
from worker.clients import connections as connections_of
from worker.clients import idle, names
from worker.clients.connections import Connections
from worker.clients.line import Line, NoConnection, Silence
from worker.clients.lookup import Address, Lookup, LookupFailed
from worker.clients.passage import Passage
from worker.clients.response import Response
from worker.clients.target import Target, compose
from worker.clients.upload import Taken

pytestmark = pytest.mark.anyio

LONG = timedelta(seconds=30)  # a time that no test reaches
SHORT = timedelta(milliseconds=50)  # one that a test does reach
UPLOAD_PATIENCE = timedelta(milliseconds=500)
PIECE, PACE_S = 64 * 1024, 0.015
LARGE = 80 * PIECE  # at that pace more than twice as long as the patience
PATIENCE_S = 10  # what a failing test takes: less than the 30 s that an event loop gives a TLS session to end


@asynccontextmanager
async def pool(
    *,
    keep_alive: timedelta = LONG,
    nameservers: list[str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    socket_factory: SocketFactoryType | None = None,
) -> AsyncIterator[Connections]:
    """Give a pool without a guard."""
    lookup = Lookup(nameservers=nameservers)
    connections = Connections(
        resolver=lookup, keep_alive=keep_alive, ssl_context=ssl_context, socket_factory=socket_factory
    )
    try:
        yield connections
    finally:
        await connections.close()
        await lookup.close()


async def ask(connections: Connections, url: str, *, connect: timedelta = LONG) -> tuple[Response, Passage]:
    """Send a POST and return what came back."""
    target = Target.of(url)
    response, passage = Response(body_limit=1_000, most_bytes=2_000), Passage()
    request = compose("POST", target, headers={}, body=b"")
    await connections.ask(target.peer, request, answer=response, passage=passage, connect=connect, read=LONG)
    return response, passage


def url_of(peer: Peer) -> str:
    """Return a peer's URL."""
    return f"http://127.0.0.1:{peer.port}/"


async def test_an_idle_connection_is_closed_in_time() -> None:
    """When nothing has used it for the keep-alive time, the peer sees its end."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        assert await connection.reader.read() == b""

    async with pool(keep_alive=SHORT) as connections, listen(script) as peer:
        await ask(connections, url_of(peer))
        await peer.ended.wait()
    assert peer.accepts == 1


@pytest.mark.parametrize("keep_alive", [SHORT, LONG], ids=["of old age", "with the pool"])
async def test_an_idle_tls_connection_ends_at_once(keep_alive: timedelta) -> None:
    """A peer that never answers the end of a TLS session is told of it, and keeps no file of ours open."""
    told: list[bool] = []

    async def script(connection: Connection) -> None:
        told.append(await hold_tls_open(connection))

    async with listen(script) as peer:
        async with pool(keep_alive=keep_alive, ssl_context=trusting_tls()) as connections:
            await ask(connections, f"https://127.0.0.1:{peer.port}/")
            assert not peer.ended.is_set()
            if keep_alive is SHORT:
                await asyncio.wait_for(peer.ended.wait(), timeout=PATIENCE_S)
        await asyncio.wait_for(peer.ended.wait(), timeout=PATIENCE_S)
    assert told == [True]


async def test_what_a_burst_has_left_over_ends_by_itself() -> None:
    """The connection used last is taken first; the others grow old."""
    together = asyncio.Barrier(3)

    async def script(connection: Connection) -> None:
        peer.requests.append(await connection.request())
        await together.wait()
        await connection.send(OK)
        while True:
            peer.requests.append(await connection.request())
            await connection.send(OK)

    async with pool() as connections, listen(script) as peer:
        burst = await asyncio.gather(*(ask(connections, url_of(peer)) for _ in range(3)))
        later = [await ask(connections, url_of(peer)) for _ in range(5)]
    assert [passage.reused for _, passage in burst] == [False] * 3
    assert [passage.reused for _, passage in later] == [True] * 5
    assert peer.accepts == 3


async def test_no_more_connections_idle_than_a_process_may_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has been idle for the longest makes room."""
    monkeypatch.setattr(idle, "MOST_IDLE", 2)
    async with pool() as connections, answering(OK) as one, answering(OK) as two, answering(OK) as three:
        for peer in (one, two, three, two, three, one):
            await ask(connections, url_of(peer))
    assert [peer.accepts for peer in (one, two, three)] == [2, 1, 1]


async def test_what_comes_unasked_ends_an_idle_connection() -> None:
    """Bytes that answer nothing would be taken for the next request's answer."""

    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.send(OK)
        await sent.wait()
        await connection.send(b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
        await connection.reader.read()

    sent = asyncio.Event()
    async with pool() as connections, listen(script) as forward, answering(OK) as polite:
        await ask(connections, url_of(forward))
        await ask(connections, url_of(polite))
        sent.set()
        await forward.ended.wait()
        response, passage = await ask(connections, url_of(polite))
    assert (response.status_code, passage.reused) == (200, True)
    assert forward.accepts == 1


async def test_an_answer_too_many_is_nobodys() -> None:
    """Behind a whole answer nothing may follow: the next request gets a connection of its own."""
    async with pool() as connections, answering(OK + b"HTTP/1.1 500 X\r\n\r\n", OK) as peer:
        answers = [await ask(connections, url_of(peer)) for _ in range(2)]
    assert [response.status_code for response, _ in answers] == [200, 200]
    assert peer.accepts == 2


class SlowUpload(asyncio.Transport):
    """The transport of a peer that takes the request slowly, and answers when it has it."""

    def __init__(self, line: Line) -> None:
        """Make one whose buffer is empty when it is looked at for the third time."""
        super().__init__()
        self._line = line
        self._looks = 0
        line.connection_made(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Take it into the buffer."""

    def get_write_buffer_size(self) -> int:
        """Return what is left to be sent."""
        self._looks += 1
        if self._looks == 3:
            self._line.data_received(OK)
        return 0 if self._looks > 2 else 1

    def is_closing(self) -> bool:
        """Stay open."""
        return False


async def test_a_peer_that_still_takes_the_request_is_not_silent() -> None:
    """Silence is counted from the last time that something was left to be sent."""
    response = Response(body_limit=1_000, most_bytes=2_000)
    line = Line(passage=Passage(), answer=response)
    SlowUpload(line)
    line.send(b"", read=timedelta(milliseconds=10))
    assert await line.answered()
    assert response.complete


async def test_a_peer_that_takes_no_more_is_silent_whatever_it_acknowledges(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A system whose program has stopped reading goes on to acknowledge the probes of ours."""
    monkeypatch.setattr("worker.clients.line.taken", lambda _: Taken(count=1_000, ago_s=0.0))
    line = Line(passage=Passage(), answer=Response(body_limit=1_000, most_bytes=2_000))
    SlowUpload(line)
    line.send(b"", read=timedelta(milliseconds=10))
    with pytest.raises(Silence):
        await asyncio.wait_for(line.answered(), timeout=PATIENCE_S)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_slow_upload_is_not_silence(tls: bool) -> None:
    """A request may take longer than the time for a read, while the peer takes some of it in that time."""

    async def script(connection: Connection) -> None:
        sock = connection.writer.get_extra_info("socket")
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE
        )  # else the system takes most of it at once
        begun = loop.time()
        for _ in range(LARGE // PIECE):
            await connection.reader.readexactly(PIECE)
            await asyncio.sleep(PACE_S)
        lasted.append(loop.time() - begun)
        await connection.send(OK)

    loop, lasted = asyncio.get_running_loop(), list[float]()
    async with (
        pool(ssl_context=trusting_tls()) as connections,
        listen(script, tls=server_tls() if tls else None) as peer,
    ):
        response = await upload(connections, peer, tls=tls, read=UPLOAD_PATIENCE)
    assert response.status_code == 200
    assert lasted[0] > 2 * UPLOAD_PATIENCE.total_seconds()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_peer_that_takes_no_more_of_the_request_is_silent(tls: bool) -> None:
    """However much is left to be sent: nothing comes back, and nothing is taken."""

    async def script(connection: Connection) -> None:
        await connection.reader.readexactly(PIECE)
        await asyncio.Event().wait()

    async with (
        pool(ssl_context=trusting_tls()) as connections,
        listen(script, tls=server_tls() if tls else None) as peer,
    ):
        with pytest.raises(Silence):
            await upload(connections, peer, tls=tls, read=UPLOAD_PATIENCE)


async def upload(connections: Connections, peer: Peer, *, tls: bool, read: timedelta) -> Response:
    """Send a large request and return what came back."""
    target = Target.of(f"http{'s' if tls else ''}://127.0.0.1:{peer.port}/")
    response = Response(body_limit=1_000, most_bytes=2_000)
    await connections.ask(
        target.peer, bytes(LARGE), answer=response, passage=Passage(), connect=LONG, read=read
    )
    return response


async def test_each_byte_gives_the_peer_its_time_again() -> None:
    """A drip may last longer than the time for a read; what comes after it may not."""

    async def script(connection: Connection) -> None:
        await connection.request()
        for byte in OK[:-1]:
            await connection.send(bytes([byte]))
            await asyncio.sleep(0.01)
        await asyncio.Event().wait()

    patience = timedelta(milliseconds=200)
    async with pool() as connections, listen(script) as peer:
        target = Target.of(url_of(peer))
        response, passage = Response(body_limit=1_000, most_bytes=2_000), Passage()
        request = compose("POST", target, headers={}, body=b"")
        with pytest.raises(Silence):
            await connections.ask(
                target.peer, request, answer=response, passage=passage, connect=LONG, read=patience
            )
        ended = asyncio.get_running_loop().time()
    assert (response.status_code, response.complete) == (200, False)
    assert passage.heard_at is not None
    assert passage.last_heard_at is not None
    assert passage.last_heard_at - passage.heard_at > patience.total_seconds()
    assert ended - passage.last_heard_at >= patience.total_seconds()


async def test_a_name_is_looked_up_once_for_all_who_ask() -> None:
    """Ten requests at once are one look-up, and so is the next one within 10 s."""
    async with (
        name_server({"receiver.test": [["127.0.0.1"]]}) as zone,
        pool(nameservers=[zone.address]) as connections,
        answering(OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)) as peer,
    ):
        url = f"http://receiver.test:{peer.port}/"
        await asyncio.gather(*(ask(connections, url) for _ in range(10)))
        await ask(connections, url)
        assert (peer.accepts, zone.lookups("receiver.test")) == (11, 1)


async def test_what_was_known_of_a_name_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time, or when too many names are known, it is looked up again."""
    records: dict[str, list[list[str]]] = {"one.test": [["127.0.0.1"]], "two.test": [["127.0.0.1"]]}
    async with (
        name_server(dict(records)) as zone,
        pool(nameservers=[zone.address]) as connections,
        answering(OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)) as peer,
    ):
        monkeypatch.setattr(names, "MOST_KNOWN", 1)
        for name in ("one", "one", "two", "one"):
            await ask(connections, f"http://{name}.test:{peer.port}/")
        assert (zone.lookups("one.test"), zone.lookups("two.test")) == (2, 1)
        monkeypatch.setattr(names, "KNOWN_FOR", timedelta(0))
        for _ in range(3):
            await ask(connections, f"http://two.test:{peer.port}/")
        assert zone.lookups("two.test") == 4


async def test_an_unknown_name_is_no_shortage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where no device can be opened, as in a bare chroot."""
    monkeypatch.setattr(os, "devnull", str(tmp_path / "null"))
    async with name_server({}) as served:
        lookup = Lookup(nameservers=[served.address])
        with pytest.raises(LookupFailed, match="has no address"):
            await lookup.resolve("receiver.test")
        await lookup.close()


async def test_a_name_with_many_silent_addresses_takes_few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request tries four of them, one beside the other: whoever has a domain can give a name hundreds."""
    monkeypatch.setattr(
        connections_of, "HAPPY_EYEBALLS_DELAY_S", 0.01
    )  # all would be tried in a quarter of a second
    made: list[socket.socket] = []

    def counted(addr_info: AddrInfoType) -> socket.socket:
        made.append(socket.socket(*addr_info[:3]))
        return made[-1]

    addresses = [f"127.0.1.{last}" for last in range(1, 25)]
    with silent() as port:
        async with (
            name_server({"wide.test": [addresses]}) as served,
            pool(nameservers=[served.address], socket_factory=counted) as connections,
        ):
            with pytest.raises(NoConnection):
                await ask(connections, f"http://wide.test:{port}/", connect=SHORT * 10)
    assert len(made) == names.MOST_ADDRESSES == 4
    assert all(one.fileno() == -1 for one in made)


@contextmanager
def silent() -> Iterator[int]:
    """Give a port that answers no one, at any address of ours: its queue is full."""
    with socket.socket() as listening, ExitStack() as waiting:
        listening.bind(("", 0))
        listening.listen(0)
        port = int(listening.getsockname()[1])
        for _ in range(3):
            sock = waiting.enter_context(socket.socket())
            sock.settimeout(0)
            sock.connect_ex(("127.0.0.1", port))
        yield port


@pytest.mark.parametrize(
    ("found", "tried"),
    [
        (["::1", "::2", "::3", "::4", "::5", "::6", "192.0.2.1", "192.0.2.2"], "::1 192.0.2.1 ::2 192.0.2.2"),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "::1"], "192.0.2.1 ::1 192.0.2.2 192.0.2.3"),
        (
            ["192.0.2.5", "192.0.2.4", "192.0.2.3", "192.0.2.2", "192.0.2.1"],
            "192.0.2.5 192.0.2.4 192.0.2.3 192.0.2.2",
        ),
        (["::1"], "::1"),
    ],
)
async def test_addresses_of_both_kinds_are_among_the_few(found: list[str], tried: str) -> None:
    """By turns, and else in the order in which the look-up prefers them."""

    class Known:
        """A resolver that knows one name."""

        async def resolve(self, host: str) -> list[Address]:
            """Return its addresses."""
            del host
            families = [socket.AF_INET6 if ":" in one else socket.AF_INET for one in found]
            return [Address(family=family, host=one) for family, one in zip(families, found, strict=True)]

    infos = await names.Names(Known()).addresses(Target.of("http://wide.test/").peer)
    assert " ".join(str(info[4][0]) for info in infos) == tried


async def test_a_failed_look_up_is_not_remembered() -> None:
    """The next request asks again, and whoever was cancelled took nobody along."""
    async with (
        name_server({"late.test": ["failure", "failure", ["127.0.0.1"]]}) as zone,
        pool(nameservers=[zone.address]) as connections,
        answering(OK) as peer,
    ):
        url = f"http://late.test:{peer.port}/"
        with pytest.raises(LookupFailed):
            await ask(connections, url)
        impatient = asyncio.create_task(ask(connections, url))
        patient = asyncio.create_task(ask(connections, url))
        await asyncio.sleep(0)
        impatient.cancel()
        response, _ = await patient
        assert impatient.cancelled()
    assert response.status_code == 200
