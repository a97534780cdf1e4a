"""Faults that can be switched on and off while the sandbox runs.

Each fault strikes requests whose path contains its `path` (empty: every request) until it is used up or
cleared. Several may be on: a request suffers the first that fits. The control routes under `/sandbox/`
never suffer.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from http import HTTPStatus

import msgspec
from aiohttp import web

_FOR_EVER = 86_400.0

_HTML = "<!doctype html><html><head><title>One API</title></head><body><div id='root'></div></body></html>"


class FaultKind(StrEnum):
    """What goes wrong."""

    STATUS = "status"  # another status code, with `body` or the family's JSON error
    HTML = "html"  # 200 with the page of a single-page application
    EMPTY = "empty"  # 200 with no body
    HANG = "hang"  # no answer until the client gives up
    SLOW = "slow"  # the right answer, `seconds` late
    DROP = "drop"  # the connection breaks without a status line
    MISSING = "missing"  # a good answer that does not name the tasks
    MALFORMED = "malformed"  # a good answer whose items for the tasks make no sense


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault. `requests` is how many it still strikes; None means until it is cleared."""

    kind: FaultKind
    path: str = ""
    requests: int | None = None
    status_code: int = int(HTTPStatus.BAD_GATEWAY)
    body: str | None = None
    content_type: str = "application/json"
    retry_after: str | None = None
    seconds: float = 1.0
    task_ids: tuple[str, ...] = ()  # for MISSING and MALFORMED; empty means all

    def names(self, task_id: str) -> bool:
        """Whether the fault is about this task."""
        return not self.task_ids or task_id in self.task_ids


@dataclass(slots=True, kw_only=True)
class Faults:
    """The faults that are on, in the order in which they were switched on."""

    on: list[Fault] = field(default_factory=list)

    def switch_on(self, fault: Fault) -> None:
        """Add a fault."""
        self.on.append(fault)

    def clear(self) -> int:
        """Switch all off and return how many there were."""
        count = len(self.on)
        self.on.clear()
        return count

    def strike(self, *, path: str) -> Fault | None:
        """Return the fault that this request suffers, and use it up by one."""
        for fault in self.on:
            if fault.path in path:
                if fault.requests is not None:
                    fault.requests -= 1
                    if fault.requests <= 0:
                        self.on.remove(fault)
                return fault
        return None

    def add_routes(self, app: web.Application) -> None:
        """Add `GET`, `POST` and `DELETE /sandbox/faults`."""
        app.router.add_get("/sandbox/faults", self._list)
        app.router.add_post("/sandbox/faults", self._add)
        app.router.add_delete("/sandbox/faults", self._clear)

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response({"faults": [asdict(fault) for fault in self.on]})

    async def _add(self, request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except msgspec.DecodeError as error:
            return web.json_response({"error": f"not a fault: {error}"}, status=HTTPStatus.BAD_REQUEST)
        self.switch_on(fault)
        return web.json_response(asdict(fault), status=HTTPStatus.CREATED)

    async def _clear(self, _request: web.Request) -> web.Response:
        return web.json_response({"cleared": self.clear()})


async def suffer(fault: Fault | None, *, request: web.Request) -> web.Response | None:
    """Return the answer that the fault gives, or None when the right answer is to be given after all."""
    match fault:
        case None:
            return None
        case Fault(kind=FaultKind.STATUS):
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            return web.Response(
                status=fault.status_code,
                text=_error_body(fault),
                content_type=fault.content_type,
                headers=headers,
            )
        case Fault(kind=FaultKind.HTML):
            return web.Response(text=_HTML, content_type="text/html")
        case Fault(kind=FaultKind.EMPTY):
            return web.Response(body=b"")
        case Fault(kind=FaultKind.DROP):
            if request.transport is not None:
                request.transport.abort()
            return web.Response(body=b"")
        case Fault(kind=FaultKind.HANG | FaultKind.SLOW):
            await asyncio.sleep(_FOR_EVER if fault.kind is FaultKind.HANG else fault.seconds)
            return None
        case _:  # what is wrong is in the answer itself
            return None


def _error_body(fault: Fault) -> str:
    if fault.body is not None:
        return fault.body
    error = {
        "message": f"sandbox fault: {fault.status_code}",
        "type": "new_api_error",
        "code": "sandbox_fault",
    }
    return msgspec.json.encode({"error": error}).decode()
