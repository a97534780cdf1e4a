"""Where each request to the simulated gateway passes: written down, struck by a fault, asked for its key."""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

import msgspec
from aiohttp import web

from worker.sandbox import bodies
from worker.sandbox.bodies import Body
from worker.sandbox.broken_answers import instead, send
from worker.sandbox.dialects import Dialect
from worker.sandbox.faults import Asked, Fault, FaultKind
from worker.sandbox.switchboard import Faults

_REMEMBERED_REQUESTS = 10_000

Reply = Callable[[Fault | None], Body]


@dataclass(slots=True, kw_only=True)
class SeenRequest:
    """One line of the request log; keys never appear in it.

    It is there from the moment the request came. `status_code` stays None when no answer was given.
    """

    at: datetime
    method: str
    path: str
    task_ids: tuple[str, ...]
    action: str
    fault: FaultKind | None = None
    status_code: int | None = None


class FrontDesk:
    """Holds the faults and the last 10,000 requests."""

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        api_key: str | None,
        say: Callable[[SeenRequest], None] | None,
    ) -> None:
        self._clock = clock
        self._api_key = api_key
        self._say = say
        self.faults = Faults(clock=clock)
        self.requests: deque[SeenRequest] = deque(maxlen=_REMEMBERED_REQUESTS)

    def add_routes(self, app: web.Application) -> None:
        """Add `GET /sandbox/requests` and the routes of the faults."""
        app.router.add_get("/sandbox/requests", self._show_requests)
        self.faults.add_routes(app)

    async def answer(
        self,
        request: web.Request,
        *,
        dialect: Dialect,
        reply: Reply,
        task_ids: tuple[str, ...] = (),
        action: str = "",
    ) -> web.StreamResponse:
        """Return the answer of the fault that strikes, else 401 without the key, else what `reply` makes."""
        seen = SeenRequest(
            at=self._clock(), method=request.method, path=request.path, task_ids=task_ids, action=action
        )
        self.requests.append(seen)
        asked = Asked(path=request.path, dialect=dialect, action=action, task_ids=task_ids)
        fault = self.faults.strike(asked)
        seen.fault = None if fault is None else fault.kind
        try:
            answer = await instead(fault, request=request)
            if answer is None:
                body = reply(fault) if self._admits(request) else bodies.unauthorized(dialect=dialect)
                right = json_answer(body.content, status_code=body.status_code)
                answer = await send(right, fault=fault, request=request)
            if seen.fault is not FaultKind.DROP:
                seen.status_code = answer.status
            return answer
        finally:
            if self._say is not None:
                self._say(seen)

    def _admits(self, request: web.Request) -> bool:
        if self._api_key is None:
            return True
        authorization = request.headers.get("Authorization", "").removeprefix("Bearer ")
        given = request.headers.get("X-API-Key", authorization)
        return hmac.compare_digest(given.encode(), self._api_key.encode())

    async def _show_requests(self, _request: web.Request) -> web.Response:
        return json_answer(msgspec.json.encode({"requests": [asdict(seen) for seen in self.requests]}))


def json_answer(content: bytes, *, status_code: int = 200) -> web.Response:
    """Return a JSON answer of exactly these bytes."""
    return web.Response(body=content, status=status_code, content_type="application/json")
