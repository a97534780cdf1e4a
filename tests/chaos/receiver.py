"""A receiver that verifies and counts; the first part of the path says for which installation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256

import msgspec
from aiohttp import web

from tests.chaos.entries import Arrival
from tests.chaos.ledger import Ledger
from worker.sandbox.verification import Verifier

LARGEST = 16 * 1024 * 1024


class Told(msgspec.Struct):
    """What the ledger keeps of a body."""

    task_id: str
    status: str
    data: msgspec.Raw


@dataclass(slots=True, kw_only=True)
class Answer:
    """How a POST is answered, and how long after it came."""

    status: int = 200
    after_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Desk:
    """One installation's side of the receiver.

    `on_arrival` is called with each POST as soon as it has come whole, before it is answered; `decide` then
    says how. Both run on the receiver's event loop and must not wait.
    """

    ledger: Ledger
    on_arrival: Callable[[Arrival], None] = lambda _arrival: None
    decide: Callable[[Arrival], Answer] = lambda _arrival: Answer()


@dataclass(slots=True, kw_only=True)
class CountingReceiver:
    """Takes every POST under `/<name>/…` for the desk of that name."""

    verify: Verifier
    desks: dict[str, Desk] = field(default_factory=dict)

    def app(self) -> web.Application:
        """Return the application to be served by `hosting.hosted`."""
        app = web.Application(client_max_size=LARGEST)
        app.router.add_post("/{desk}/{rest:.*}", self._receive)
        return app

    async def _receive(self, request: web.Request) -> web.Response:
        desk = self.desks[request.match_info["desk"]]
        arrival = self._read(await request.read(), headers=dict(request.headers))
        desk.ledger.arrive(arrival)
        desk.on_arrival(arrival)
        answer = desk.decide(arrival)
        status = answer.status if arrival.problem is None else 401
        if not 200 <= status < 300:  # heard or not, nothing was taken, and what follows is no copy
            desk.ledger.answered(arrival, answer=status)
        if answer.after_s:
            await asyncio.sleep(answer.after_s)
        response = web.Response(status=status)
        with suppress(ConnectionError):  # whoever sent it is dead
            await response.prepare(request)
            await response.write_eof()
            desk.ledger.answered(arrival, answer=status)
        return response

    def _read(self, body: bytes, *, headers: dict[str, str]) -> Arrival:
        low = {name.lower(): value for name, value in headers.items()}
        told = msgspec.json.decode(body, type=Told)
        return Arrival(
            at=time.monotonic(),
            task_id=told.task_id,
            webhook_id=low["webhook-id"],
            attempt=int(low["webhook-attempt"]),
            status=told.status,
            data=bytes(told.data).decode(),
            body_sha256=sha256(body).hexdigest(),
            problem=self.verify(body, low),
        )
