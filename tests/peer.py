"""A gateway that answers exactly what a test says, over real HTTP, and notes what it was asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from worker.sandbox.hosting import hosted

FOR_EVER = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request: its ids and the key that it carried."""

    ids: tuple[str, ...]
    authorization: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """An answer: bytes as they are, anything else as JSON; or none at all."""

    body: object = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False


@dataclass(slots=True, kw_only=True)
class ScriptedGateway:
    """What it says to each request follows from the ids that it is asked for."""

    say: Callable[[tuple[str, ...]], Say]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer a batch or a single fetch."""
        single = request.match_info.get("task_id")
        ids = (await request.json())["ids"] if single is None else [single]
        self.asked.append(Asked(ids=tuple(ids), authorization=request.headers["Authorization"]))
        said = self.say(tuple(ids))
        if said.hang:
            await asyncio.sleep(FOR_EVER)
        body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        return web.Response(body=body, status=said.status, headers=said.headers)


@contextmanager
def scripted(say: Callable[[tuple[str, ...]], Say]) -> Iterator[ScriptedGateway]:
    """Serve such a gateway on loopback inside the block."""
    gateway = ScriptedGateway(say=say)
    app = web.Application()
    app.router.add_post("/suno/fetch", gateway.answer)
    app.router.add_get("/suno/fetch/{task_id}", gateway.answer)
    with hosted(app) as gateway.url:
        yield gateway


def item(task_id: str, status: str, **fields: object) -> dict[str, object]:
    """Write a task as gateways of the New-API line do."""
    return {"task_id": task_id, "status": status, "progress": "0%", "fail_reason": "", "data": None, **fields}


def good(*items: object) -> Say:
    """Answer with these items."""
    return Say(body={"code": "success", "message": "", "data": list(items)})
