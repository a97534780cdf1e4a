from __future__ import annotations

import asyncio
import sys

import pytest

from tests.clients.peers import Connection, listen
from worker.clients.upload import Taken, taken

pytestmark = pytest.mark.anyio


class Sock:
    """A socket of a system that says something else than Linux does."""

    def __init__(self, said: bytes | OSError) -> None:
        """Make one that gives `said` back, or raises it."""
        self._said = said

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        """Answer."""
        del level, option, size
        if isinstance(self._said, OSError):
            raise self._said
        return self._said


async def test_what_the_peer_has_acknowledged_is_counted() -> None:
    """All of it, once it has come; SYN counts for one."""

    async def script(connection: Connection) -> None:
        await connection.reader.readexactly(1_000)
        await connection.send(b"!")
        await connection.reader.read()

    heard = asyncio.Event()

    class Hearing(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            del data
            heard.set()

    async with listen(script) as peer:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(Hearing, "127.0.0.1", peer.port)
        transport.write(bytes(1_000))
        await heard.wait()  # its answer acknowledges what it answers
        so_far = taken(transport)
        transport.close()
    assert so_far is not None
    assert so_far.count == 1_001
    assert 0 <= so_far.ago_s < 60


@pytest.mark.parametrize("said", [b"", b"\0" * 104, OSError(92, "not here")], ids=["none", "short", "error"])
async def test_a_system_that_does_not_say_it(said: bytes | OSError) -> None:
    """Older kernels and others give less, or an error: then nothing is known."""
    assert taken(asyncio.Transport(extra={"socket": Sock(said)})) is None


async def test_another_system_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """FreeBSD's option of the same name has other numbers in these places; nor is no socket asked."""
    assert taken(asyncio.Transport()) is None
    info = (99).to_bytes(4, "little") * 32
    transport = asyncio.Transport(extra={"socket": Sock(info)})
    assert taken(transport) == Taken(count=(99 << 32) + 99, ago_s=0.099)
    monkeypatch.setattr(sys, "platform", "freebsd14")
    assert taken(transport) is None
