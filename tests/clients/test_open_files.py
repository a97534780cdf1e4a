"""A process with very many open files, or with no room for one more, which is nobody's fault but its own."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.clients.name_server import name_server
from tests.clients.peers import OK, Peer, answering
from worker.core.verdicts import Failed, PostError

pytestmark = pytest.mark.anyio

NAME = "receiver.test"
NO_NAME = str(Failed(error=PostError.DNS, detail="the host name has no address"))
MOST_OF_SELECT = 1_024
# A process of its own, since limits are a process's. It opens files, posts, closes them and posts again.
CROWDED = """
import asyncio, os, resource, sys
from datetime import timedelta
from worker.clients.endpoint import EndpointClient, Post
from worker.core.addresses import Allow

async def main(name_server, url, limit, most):
    client = EndpointClient(
        allow=Allow.parse(["127.0.0.0/8"]), timeout=timedelta(seconds=10), nameservers=[name_server]
    )
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    crowd = []
    try:
        while len(crowd) < most:
            crowd.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        print(error.strerror)
    print((await client.post(Post(url=url, body=b"{}", headers={}))).outcome)
    for descriptor in crowd:
        os.close(descriptor)
    print((await client.post(Post(url=url, body=b"{}", headers={}))).outcome)
    await client.close()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A receiver with a name, and how to post to it from a crowded process."""

    receiver: Peer
    name_server: str

    async def posts_from(self, *, limit: int, most: int, host: str = NAME) -> list[str]:
        """Return what a process says that may have `limit` files open and has opened up to `most`."""
        url = f"http://{host}:{self.receiver.port}/hook"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", CROWDED, self.name_server, url, str(limit), str(most)),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0
        return said.decode().splitlines()


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    """Give a receiver that accepts."""
    async with name_server({NAME: [["127.0.0.1"]]}) as names, answering(OK) as receiver:
        yield Scene(receiver=receiver, name_server=names.address)


async def test_a_process_may_have_more_files_open_than_select_can_name() -> None:
    """Name look-up, connection and answer work with descriptors beyond 1,024."""
    async with scene() as here:
        said = await here.posts_from(limit=2 * MOST_OF_SELECT, most=MOST_OF_SELECT + 100)

    assert [line.partition("(")[0] for line in said] == ["Answered", "Answered"]
    assert here.receiver.accepts == 1  # of one above 1,024; the second POST reused it


@pytest.mark.parametrize(
    ("host", "later"),
    [(NAME, "Answered(status_code=200"), ("127.0.0.1", "Answered(status_code=200"), ("other.test", NO_NAME)],
)
async def test_a_process_that_may_open_no_more_files_blames_no_receiver(host: str, later: str) -> None:
    """It is told as our own shortage, not as silence of the name servers, and ends when there is room."""
    async with scene() as here:
        full, crowded, roomy = await here.posts_from(limit=128, most=128, host=host)

    assert full == "Too many open files"
    assert crowded == str(Failed(error=PostError.INTERNAL, detail="unexpected OSError (EMFILE)"))
    assert roomy.startswith(later)
