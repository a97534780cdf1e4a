"""The faults that are on: switched on and off while the sandbox runs, or by a scenario at its start.

A request suffers the first fault that fits it and whose time it is. `GET`, `POST` and `DELETE` of
`/sandbox/faults` list, add and clear them; the control routes under `/sandbox/` never suffer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus

import msgspec
from aiohttp import web

from worker.sandbox.fault_keys import BadFault, read_fault
from worker.sandbox.faults import Asked, Fault, fits


@dataclass(slots=True)
class _Running:
    fault: Fault
    since: datetime
    met: int = 0  # requests that fitted while its seconds ran


@dataclass(slots=True, kw_only=True)
class Faults:
    """The faults that are on, in the order in which they were switched on."""

    clock: Callable[[], datetime]
    _running: list[_Running] = field(default_factory=list)

    @property
    def on(self) -> list[Fault]:
        """The faults that are on, also those whose time has not come."""
        now = self.clock()
        self._running = [one for one in self._running if not _is_over(one, now=now)]
        return [one.fault for one in self._running]

    def switch_on(self, fault: Fault) -> None:
        """Add a fault; its clock starts."""
        self._running.append(_Running(fault, self.clock()))

    def clear(self) -> int:
        """Switch all off and return how many there were."""
        count = len(self.on)
        self._running.clear()
        return count

    def strike(self, asked: Asked) -> Fault | None:
        """Return the fault that this request suffers, and count the request."""
        now = self.clock()
        for one in self._running:
            begun = (now - one.since).total_seconds() >= one.fault.after_seconds
            if not begun or _is_over(one, now=now) or not fits(one.fault, asked):
                continue
            one.met += 1
            if one.met > one.fault.after_requests:
                return one.fault
        return None

    def add_routes(self, app: web.Application) -> None:
        """Add `GET`, `POST` and `DELETE /sandbox/faults`."""
        app.router.add_get("/sandbox/faults", self._list)
        app.router.add_post("/sandbox/faults", self._add)
        app.router.add_delete("/sandbox/faults", self._clear)

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response({"faults": [msgspec.to_builtins(fault) for fault in self.on]})

    async def _add(self, request: web.Request) -> web.Response:
        try:
            fault = read_fault(msgspec.json.decode(await request.read()))
        except (msgspec.DecodeError, BadFault) as error:
            return web.json_response({"error": f"not a fault: {error}"}, status=HTTPStatus.BAD_REQUEST)
        self.switch_on(fault)
        return web.json_response(msgspec.to_builtins(fault), status=HTTPStatus.CREATED)

    async def _clear(self, _request: web.Request) -> web.Response:
        return web.json_response({"cleared": self.clear()})


def _is_over(one: _Running, *, now: datetime) -> bool:
    fault = one.fault
    passed = (now - one.since).total_seconds() - fault.after_seconds
    return (fault.for_seconds is not None and passed >= fault.for_seconds) or (
        fault.requests is not None and one.met >= fault.after_requests + fault.requests
    )
