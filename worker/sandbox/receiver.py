"""A receiver of webhooks: verifies each signature, keeps what came, and can misbehave on demand.

`POST` on any path is a webhook: 200 when its signature is good, 401 when it is not. Every one is kept,
also those that a fault then answers otherwise. At-least-once delivery may repeat a webhook, so the report
counts each `webhook-id` once, as a careful receiver would.

Control: `GET /received`, `DELETE /received`, `GET|POST|DELETE /sandbox/faults`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

import msgspec
from aiohttp import web

from worker.sandbox.broken_answers import instead
from worker.sandbox.faults import Asked, Fault, FaultKind
from worker.sandbox.switchboard import Faults
from worker.sandbox.verification import Verifier

_LARGEST_WEBHOOK = 64 * 1024 * 1024


class _TaskObject(msgspec.Struct):
    task_id: str = ""
    action: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One request that came. `problem` is None when the signature was good."""

    at: datetime
    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    problem: str | None
    repeated: bool  # an earlier one had the same webhook-id
    task_id: str
    action: str
    status: str

    @property
    def webhook_id(self) -> str:
        """Return the delivery's id, the same on every retry."""
        return self.headers.get("webhook-id", "")

    @property
    def verified(self) -> bool:
        """Whether the signature was good."""
        return self.problem is None


class SandboxReceiver:
    """The receiver. `app()` is served by `hosting.serving` or `hosting.hosted`.

    `verify` comes from `verification.make_verifier`; without it every signature is taken unseen.
    `say` is called with each webhook as it comes.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        verify: Verifier | None,
        say: Callable[[Webhook], None] | None = None,
    ) -> None:
        self._clock = clock
        self._verify = verify
        self._say = say
        self._news = threading.Condition()
        self.faults = Faults(clock=clock)
        self.webhooks: list[Webhook] = []
        self._seen_ids: set[str] = set()

    def app(self) -> web.Application:
        """Return a new application over this receiver's state."""
        app = web.Application(client_max_size=_LARGEST_WEBHOOK)
        app.router.add_get("/received", self._show)
        app.router.add_delete("/received", self._forget)
        self.faults.add_routes(app)
        app.router.add_post("/{path:.*}", self._receive)
        return app

    def answer_with(self, status_code: int, *, times: int, retry_after: str | None = None) -> None:
        """Answer the next `times` webhooks with `status_code` instead of 200."""
        self.faults.switch_on(
            Fault(kind=FaultKind.STATUS, status_code=status_code, requests=times, retry_after=retry_after)
        )

    def wait_for(self, enough: Callable[[list[Webhook]], bool], *, seconds: float) -> bool:
        """Wait in another thread until what came is `enough`; False when it is not within `seconds`."""
        with self._news:
            return self._news.wait_for(lambda: enough(self.webhooks), timeout=seconds)

    async def _receive(self, request: web.Request) -> web.StreamResponse:
        webhook = self._read(request, body=await request.read())
        with self._news:
            self.webhooks.append(webhook)
            self._seen_ids.add(webhook.webhook_id)
            self._news.notify_all()
        if self._say is not None:
            self._say(webhook)
        answer = await instead(self.faults.strike(Asked(path=request.path)), request=request)
        if answer is not None:
            return answer
        if webhook.problem is not None:
            return web.json_response({"error": webhook.problem}, status=HTTPStatus.UNAUTHORIZED)
        return web.json_response({"received": True, "repeated": webhook.repeated})

    def _read(self, request: web.Request, *, body: bytes) -> Webhook:
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            task = msgspec.json.decode(body, type=_TaskObject)
        except msgspec.DecodeError:
            task = _TaskObject()
        return Webhook(
            at=self._clock(),
            path=request.path,
            headers=headers,
            body=body,
            problem=None if self._verify is None else self._verify(body, headers),
            repeated=headers.get("webhook-id") in self._seen_ids,
            task_id=task.task_id,
            action=task.action,
            status=task.status,
        )

    async def _show(self, _request: web.Request) -> web.Response:
        report = {
            "unique": sum(not webhook.repeated for webhook in self.webhooks),
            "repeated": sum(webhook.repeated for webhook in self.webhooks),
            "unverified": sum(not webhook.verified for webhook in self.webhooks),
            "webhooks": [_described(webhook) for webhook in self.webhooks],
        }
        return web.Response(body=msgspec.json.encode(report), content_type="application/json")

    async def _forget(self, _request: web.Request) -> web.Response:
        count = len(self.webhooks)
        self.webhooks.clear()
        self._seen_ids.clear()
        return web.json_response({"forgotten": count})


def _described(webhook: Webhook) -> Mapping[str, object]:
    return {
        "at": webhook.at,
        "path": webhook.path,
        "webhook_id": webhook.webhook_id,
        "attempt": webhook.headers.get("webhook-attempt", ""),
        "verified": webhook.verified,
        "problem": webhook.problem,
        "repeated": webhook.repeated,
        "task_id": webhook.task_id,
        "action": webhook.action,
        "status": webhook.status,
        "body": webhook.body.decode(errors="replace"),
    }
