"""A simulated gateway: submit, batch and single fetch, tasks that take a few seconds, switchable faults.

The first part of the path chooses the kind of gateway (`dialects.PREFIXES`): `/openai-hub`, `/rixapi` and
the bare path speak New-API, `/nengyongai` GoAmz, `/suno-api` the origin's form. All share one set of tasks.

A submit may carry `"sandbox": {"task_id", "seconds", "outcome", "fail_reason", "data"}` to choose what
becomes of that one task. As at the real gateways, `notify_hook` is accepted and dropped.

Control: `GET /sandbox/tasks`, `GET /sandbox/requests`, `GET|POST|DELETE /sandbox/faults`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

import msgspec
from aiohttp import web

from worker.sandbox import bodies
from worker.sandbox.appearances import Appearance, seen_through
from worker.sandbox.bodies import Body
from worker.sandbox.dialects import PREFIXES, Dialect
from worker.sandbox.faults import Fault
from worker.sandbox.front_desk import FrontDesk, SeenRequest, json_answer
from worker.sandbox.songs import SimulatedTask, Stage

# Lyrics are ready in a third of the time of music.
_LASTING_PARTS: Mapping[str, float] = {"MUSIC": 1.0, "LYRICS": 1 / 3}
_LARGEST_REQUEST = 16 * 1024 * 1024


class Wish(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a submit may ask of the sandbox about its own task; `data` is the exact JSON text at the end."""

    task_id: str | None = None
    seconds: float | None = None
    outcome: Literal["SUCCESS", "FAILURE"] = "SUCCESS"
    fail_reason: str = ""
    data: str | None = None


class _Submit(msgspec.Struct):
    prompt: str = ""
    gpt_description_prompt: str = ""
    sandbox: Wish = msgspec.field(default_factory=Wish)


class _Fetch(msgspec.Struct):
    ids: tuple[str, ...] = ()
    action: str = ""


class SandboxGateway:
    """The simulated gateway. `app()` is served by `hosting.serving` or `hosting.hosted`.

    `clock` decides where each task stands; MUSIC `lasts` as long as is said, LYRICS a third of it. With an
    `api_key` every request must carry it, as `Authorization` (with or without `Bearer `) or `X-API-Key`;
    else the answer is 401. `say` is called with each request once it is answered or given up.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        api_key: str | None = None,
        lasts: timedelta = timedelta(seconds=6),
        say: Callable[[SeenRequest], None] | None = None,
    ) -> None:
        self._clock = clock
        self._lasts = lasts
        self._desk = FrontDesk(clock=clock, api_key=api_key, say=say)
        self.faults = self._desk.faults
        self.requests = self._desk.requests
        self.tasks: dict[str, SimulatedTask] = {}

    def register(self, task: SimulatedTask) -> None:
        """Put a task there as if it had been submitted; an old one of the same id is replaced."""
        self.tasks[task.task_id] = task

    def app(self) -> web.Application:
        """Return a new application over this gateway's state."""
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        for prefix, dialect in PREFIXES.items():
            submit, batch, single = (
                partial(handler, dialect=dialect)
                for handler in (self._submit, self._fetch_batch, self._fetch_single)
            )
            app.router.add_post(f"{prefix}/suno/submit/{{action}}", submit)
            app.router.add_post(f"{prefix}/suno/fetch", batch)
            app.router.add_get(f"{prefix}/suno/fetch/{{task_id}}", single)
        app.router.add_get("/sandbox/tasks", self._show_tasks)
        self._desk.add_routes(app)
        return app

    async def _submit(self, request: web.Request, *, dialect: Dialect) -> web.StreamResponse:
        action = request.match_info["action"].upper()
        content = await request.read()

        def reply(_fault: Fault | None) -> Body:
            if action not in _LASTING_PARTS:
                return bodies.bad_request("invalid_action", dialect=dialect)
            try:
                submit = msgspec.json.decode(content or b"{}", type=_Submit)
                msgspec.json.decode(submit.sandbox.data or "null", type=msgspec.Raw)
            except msgspec.DecodeError as error:
                return bodies.bad_request(f"invalid_request: {error}", dialect=dialect)
            if action == "LYRICS" and not submit.prompt:
                return bodies.bad_request("prompt_empty", dialect=dialect)
            return bodies.submitted(self._begin(submit, action=action), dialect=dialect)

        return await self._desk.answer(request, dialect=dialect, reply=reply, action=action)

    async def _fetch_batch(self, request: web.Request, *, dialect: Dialect) -> web.StreamResponse:
        try:
            fetch = msgspec.json.decode(await request.read(), type=_Fetch)
        except msgspec.DecodeError as error:
            refusal = bodies.bad_request(f"invalid_request: {error}", dialect=dialect)
            return await self._desk.answer(request, dialect=dialect, reply=lambda _fault: refusal)

        def reply(fault: Fault | None) -> Body:
            now = self._clock()
            found = [self.tasks[task_id] for task_id in dict.fromkeys(fetch.ids) if task_id in self.tasks]
            items = seen_through(fault, [Appearance.of(task, at=now) for task in found])
            return bodies.batch(items, dialect=dialect)

        return await self._desk.answer(
            request, dialect=dialect, reply=reply, task_ids=fetch.ids, action=fetch.action
        )

    async def _fetch_single(self, request: web.Request, *, dialect: Dialect) -> web.StreamResponse:
        task_id = request.match_info["task_id"]

        def reply(fault: Fault | None) -> Body:
            task = self.tasks.get(task_id)
            truth = [] if task is None else [Appearance.of(task, at=self._clock())]
            shown = [item for item in seen_through(fault, truth) if item.task is task]
            return bodies.single(shown[0], dialect=dialect) if shown else bodies.unknown_task(dialect=dialect)

        return await self._desk.answer(request, dialect=dialect, reply=reply, task_ids=(task_id,))

    def _begin(self, submit: _Submit, *, action: str) -> str:
        wish = submit.sandbox
        usual = self._lasts * _LASTING_PARTS[action]
        task = SimulatedTask(
            task_id=wish.task_id or str(uuid.uuid4()),
            action=action,
            submitted_at=self._clock(),
            lasts=usual if wish.seconds is None else timedelta(seconds=wish.seconds),
            outcome=Stage(wish.outcome),
            fail_reason=wish.fail_reason,
            prompt=submit.prompt or submit.gpt_description_prompt,
            data=wish.data,
        )
        self.register(task)
        return task.task_id

    async def _show_tasks(self, _request: web.Request) -> web.Response:
        now = self._clock()
        tasks = [_described(task, now=now) for task in self.tasks.values()]
        return json_answer(msgspec.json.encode({"tasks": tasks}))


def _described(task: SimulatedTask, *, now: datetime) -> Mapping[str, object]:
    standing = task.at(now)
    return {
        "task_id": task.task_id,
        "action": task.action,
        "status": standing.stage,
        "progress": standing.progress,
        "submitted_at": task.submitted_at,
        "finished_at": standing.finished_at,
    }
