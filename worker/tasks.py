"""The Celery tasks: thin shells that open the process's runtime and call a use-case.

`suno.enqueue` carries a request; the other three are doorbells that carry nothing and may be lost, late or
doubled without harm. All work is found in SQL.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from celery import Task
from celery.backends.base import Backend, DisabledBackend
from celery.exceptions import Reject
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from worker.celery import RING_EXPIRES_S, app, settings
from worker.db.persist import describe, is_passing
from worker.intake import Enqueued, put_under_watch, reject
from worker.process import runtime, stopping
from worker.prune import prune as prune_past_retention
from worker.request import Policy, Refused, parse_request
from worker.rings import Rings
from worker.runtime import Runtime
from worker.told import told

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0
PATIENCE_S = 60.0  # how long `suno.enqueue` waits for a database that is away

logger = logging.getLogger(__name__)


class EnqueueRefused(ValueError):
    """`suno.enqueue` refused its arguments. One plain string, so that any client can build it again."""


rings = Rings(expires_s=RING_EXPIRES_S)


class Doorbell(Task[..., Any]):
    """A Celery task that carries nothing; its result is never stored, even if a message asks for that."""

    typing = False  # arguments, as Flower's form may send them, are ignored

    @functools.cached_property
    def backend(self) -> Backend:
        """The backend that keeps nothing."""
        return DisabledBackend(app=self.app)


@app.task(
    name="suno.enqueue",
    bind=True,
    # What Flower shows of its arguments.
    Request="worker.shown:ShownRequest",
    # Acknowledged when its row is committed: a worker that dies before leaves the message to the next one.
    acks_late=True,
    # Kept for 1 h where WORKER_RESULT_BACKEND is set, for senders that wait.
    ignore_result=False,
    # A refusal is the sender's mistake: one line in the log, no traceback.
    throws=(EnqueueRefused,),
)
def enqueue(self: Task[..., Any], /, *positional: object, **arguments: object) -> dict[str, Any]:
    """Put a Suno task under watch; wait up to 60 s for a database that is away, then go back in line."""
    end = time.monotonic() + PATIENCE_S
    pause = FIRST_PAUSE_S
    while True:
        try:
            return _enqueue(positional, arguments, sender=self.request.origin)
        except SQLAlchemyError as error:
            if not is_passing(error):
                raise
            reason = describe(error)
        if pause == FIRST_PAUSE_S:
            logger.warning("the database is away; waiting up to %d s for it: %s", PATIENCE_S, reason)
        if time.monotonic() + pause > end or stopping.wait(pause):
            raise Reject(f"the database is away: {reason}", requeue=True)
        pause = min(pause * 2, LONGEST_PAUSE_S)


@app.task(name="suno.poll", base=Doorbell)
def poll(*_: object, **__: object) -> dict[str, Any]:
    """Ask the gateways about all that is due."""
    return _unless_away(
        lambda opened: opened.poller.run(
            stop=stopping,
            ring_successor=lambda: rings.ring(poll),
            pass_on=lambda: rings.pass_on(poll, now=time.monotonic()),
        )
    )


@app.task(name="suno.deliver", base=Doorbell)
def deliver(*_: object, **__: object) -> dict[str, Any]:
    """POST all results that are due."""
    return _unless_away(
        lambda opened: opened.dispatcher.run(
            stop=stopping,
            ring_successor=lambda: rings.ring(deliver),
            pass_on=lambda: rings.pass_on(deliver, now=time.monotonic()),
            awaited=opened.poller.expects_answers,
        )
    )


@app.task(name="suno.prune", base=Doorbell)
def prune(*_: object, **__: object) -> dict[str, Any]:
    """Delete what is past its retention, and say again which gateways are configured here."""
    return _unless_away(_prune)


def ring_deliver() -> None:
    """Wake a dispatcher somewhere: the outbox has something new."""
    rings.ring(deliver)


def _enqueue(
    positional: tuple[object, ...], arguments: dict[str, Any], *, sender: str | None
) -> dict[str, Any]:
    opened = runtime(ring_deliver=ring_deliver)
    with opened.sessions.begin() as session:
        outcome = _take(session, positional, arguments, policy=opened.policy)
        if isinstance(outcome, Refused):
            asked = {**arguments, "positional": positional} if positional else arguments
            reject(session, source=f"suno.enqueue {sender or ''}", reason=str(outcome), arguments=asked)
    if isinstance(outcome, Refused):
        asked_for = arguments.get("task_id")
        task_id = asked_for if isinstance(asked_for, str) else None
        logger.info(told("refused", f"refused: {outcome}", task_id=task_id))
        raise EnqueueRefused(str(outcome))
    if outcome.created:
        logger.info(told("under_watch", "is under watch", gateway=outcome.gateway, task_id=outcome.task_id))
    return asdict(outcome)


def _take(
    session: Session, positional: tuple[object, ...], arguments: dict[str, Any], *, policy: Policy
) -> Enqueued | Refused:
    if positional:
        return Refused(field="arguments", reason="are positional; pass keyword arguments only")
    try:
        request = parse_request(arguments)
    except Refused as refusal:
        return refusal
    (outcome,) = put_under_watch(session, requests=[request], policy=policy)
    return outcome


def _prune(opened: Runtime) -> dict[str, int]:
    opened.remember_gateways()
    return prune_past_retention(opened.sessions, retention=settings().retention, stop=stopping)


def _unless_away(step: Callable[[Runtime], Mapping[str, Any]]) -> dict[str, Any]:
    """Take the step; a database that is away is one line, and the next tick tries again."""
    try:
        opened = runtime(ring_deliver=ring_deliver)
        opened.make_gateways_known()
        return dict(step(opened))
    except SQLAlchemyError as error:
        if not is_passing(error):
            raise
        logger.warning("the database is away: %s", describe(error))
        return {"database": "away"}
