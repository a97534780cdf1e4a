"""A receiver that is never the bottleneck: `python -m benchmarks.receiver [--hosts N] [--hanging M]`.

It listens on N ports, so that each is an origin of its own, and prints them as JSON. The first M of them take
every request and never answer. `GET /came` on the last port tells when the first webhook of each Suno task
came, `GET /wait/N` answers when N of them have.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re

from benchmarks.wire import Reply, Request, answer, listen

OK = answer(b"ok", content_type="text/plain")
TASK_ID = re.compile(rb'"task_id"\s*:\s*"([^"]+)"')


class Receiver:
    """What came, over all ports."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._came: dict[str, float] = {}
        self._waiting: list[tuple[int, Reply]] = []

    def take(self, request: Request, reply: Reply) -> None:
        """Answer at once; a question about what came is no webhook."""
        if request.method == "POST":
            reply(OK)
            self._remember(request)
        elif request.path == "/came":
            reply(answer(json.dumps(self._came).encode()))
        else:
            self._waiting.append((int(request.path.removeprefix("/wait/")), reply))
            self._answer_who_waits()

    def hang(self, request: Request, _reply: Reply) -> None:
        """Take the request and never answer."""

    def _remember(self, request: Request) -> None:
        found = TASK_ID.search(request.body)
        if found is not None and self._came.setdefault(found[1].decode(), request.at) == request.at:
            self._answer_who_waits()

    def _answer_who_waits(self) -> None:
        ready = [one for one in self._waiting if one[0] <= len(self._came)]
        for one in ready:
            self._waiting.remove(one)
            one[1](answer(json.dumps({"came": len(self._came)}).encode()))


async def serve(*, hosts: int, hanging: int) -> None:
    """Listen until the process is ended."""
    receiver = Receiver()
    handlers = [receiver.hang if number < hanging else receiver.take for number in range(hosts)]
    print(json.dumps(await listen(*handlers)), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--hanging", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(serve(hosts=arguments.hosts, hanging=arguments.hanging))
