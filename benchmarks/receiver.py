"""A receiver that is never the bottleneck: `python -m benchmarks.receiver [--hosts N] [--hanging M]`.

It listens on N ports, so that each is an origin of its own, and prints them as JSON. The first M of them take
every request and never answer; `GET /hang/M` on the last port sets how many those are from now on.
`GET /came` tells when the first webhook of each Suno task came, `GET /wait/N` answers when N of them have,
`GET /posts` tells how many were answered, so repeated ones too, `GET /hung` how many requests each port has
left without an answer, and `GET /forget` begins anew.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial

from benchmarks.wire import Reply, Request, answer, listen
from worker.open_files import raise_own_limit

OK = answer(b"ok", content_type="text/plain")
TASK_ID = re.compile(rb'"task_id"\s*:\s*"([^"]+)"')


class Receiver:
    """What came, over all ports."""

    def __init__(self, *, hanging: int) -> None:
        """Begin with nothing; the first `hanging` ports do not answer."""
        self._hanging = hanging
        self._came: dict[str, float] = {}
        self._posts = 0
        self._hung: Counter[int] = Counter()
        self._waiting: list[tuple[int, Reply]] = []

    def take(self, request: Request, reply: Reply, *, number: int) -> None:
        """Answer at once, or never on a port that hangs; a question about what came is no webhook."""
        if request.method == "GET":
            self._tell(request.path, reply)
        elif number < self._hanging:
            self._hung[number] += 1
        else:
            reply(OK)
            self._posts += 1
            self._remember(request)

    def _tell(self, path: str, reply: Reply) -> None:
        _, question, *numbers = path.split("/")
        match question:
            case "wait":
                self._waiting.append((int(numbers[0]), reply))
                self._answer_who_waits()
                return
            case "hang":
                self._hanging = int(numbers[0])
                told: Mapping[str, float] | Mapping[int, int] = {"at": time.time()}
            case "forget":
                self._came, self._posts, self._hung, told = {}, 0, Counter(), {}
            case "posts":
                told = {"posts": self._posts}
            case "hung":
                told = self._hung
            case _:
                told = self._came
        reply(answer(json.dumps(told).encode()))

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
    receiver = Receiver(hanging=hanging)
    print(
        json.dumps(await listen(*(partial(receiver.take, number=number) for number in range(hosts)))),
        flush=True,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hosts", type=int, default=1)
    parser.add_argument("--hanging", type=int, default=0)
    arguments = parser.parse_args()
    raise_own_limit()
    asyncio.run(serve(hosts=arguments.hosts, hanging=arguments.hanging))
