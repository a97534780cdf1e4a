"""A simulated gateway that is never the bottleneck: `python -m benchmarks.gateway [--latency S]`.

It prints its port as JSON. A Suno task's id tells when it completes, so nothing has to be submitted and every
answer is made from the question alone: `t17.1795299471250` completes at that millisecond, `task-17` never.
`GET /stats` counts the requests so far and tells when each completed task was first shown as such.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

from benchmarks.wire import Reply, Request, answer, listen

CLIP = {
    "audio_url": "https://cdn1.suno.ai/00000000-0000-4000-8000-000000000000.mp3",
    "image_url": "https://cdn2.suno.ai/image_00000000-0000-4000-8000-000000000000.jpeg",
    "metadata": {"tags": "folk, rain", "prompt": "[Verse]\\n" + "It rains and rains again\\n" * 35},
    "model_name": "chirp-v4",
    "state": "complete",
    "status": "complete",
    "title": "The rain",
}
DATA = json.dumps([{"id": f"clip-{number}", **CLIP} for number in (1, 2)])  # 2.7 KB, as two clips are


def task_id(number: int, *, completes_at: float) -> str:
    """Return the id of a Suno task that completes at that moment."""
    return f"t{number}.{completes_at * 1000:.0f}"


def completion_of(task_id: str) -> float:
    """Return when a Suno task completes; never, for an id that does not tell."""
    moment = task_id.partition(".")[2]
    return int(moment) / 1000 if moment else float("inf")


class Gateway:
    """Answers in New-API's shape."""

    def __init__(self, *, latency: float) -> None:
        """Make a gateway that takes `latency` seconds for each answer."""
        self._latency = latency
        self._requests = 0
        self._shown: dict[str, float] = {}

    def take(self, request: Request, reply: Reply) -> None:
        """Answer a batch, a single fetch, or the question for the count."""
        if request.path == "/stats":
            reply(answer(json.dumps({"requests": self._requests, "shown": self._shown}).encode()))
            return
        self._requests += 1
        asyncio.get_running_loop().call_later(self._latency, self._answer, request, reply)

    def _answer(self, request: Request, reply: Reply) -> None:
        now = time.time()
        if request.method == "POST":
            data = "[" + ",".join(self._item(one, now=now) for one in json.loads(request.body)["ids"]) + "]"
        else:
            data = self._item(request.path.rpartition("/")[2], now=now)
        reply(answer(f'{{"code":"success","message":"","data":{data}}}'.encode()))

    def _item(self, task_id: str, *, now: float) -> str:
        completes_at = completion_of(task_id)
        done = completes_at <= now
        if done:
            self._shown.setdefault(task_id, now)
        status, progress = ("SUCCESS", "100%") if done else ("IN_PROGRESS", "50%")
        finished = int(completes_at) if done else 0
        return (
            f'{{"task_id":"{task_id}","action":"MUSIC","status":"{status}","fail_reason":"",'
            f'"submit_time":1795299471,"start_time":1795299472,"finish_time":{finished},'
            f'"progress":"{progress}","data":{DATA if done else "null"}}}'
        )


async def serve(*, latency: float) -> None:
    """Listen until the process is ended."""
    print(json.dumps(await listen(Gateway(latency=latency).take)), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    asyncio.run(serve(latency=parser.parse_args().latency))
