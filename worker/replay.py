"""Send a finished result again, or correct where it goes.

A resend is the same delivery, so it keeps its `webhook-id` and receivers can tell it from a new result. It
never makes a second claim beside a live one: a delivery that is being sent right now is left to end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from worker.core.addresses import Allow
from worker.core.hooks import BadHook, check_notify_hook
from worker.core.lifecycle import TERMINAL
from worker.core.webhook import origin_of
from worker.db import deliveries, origins
from worker.db.clock import read_now
from worker.db.deliveries import Trigger
from worker.db.identity import new_delivery_id
from worker.db.models import Delivery, SunoTask
from worker.request import Refused


class What(StrEnum):
    """What a resend did."""

    DUE_NOW = "due_now"  # the delivery is sent at the next look
    IN_FLIGHT = "in_flight"  # it is being sent at this moment and was left alone
    HOOK_CORRECTED = "hook_corrected"  # the task is not finished; its result will go to the new hook


@dataclass(frozen=True, slots=True, kw_only=True)
class Resent:
    """What became of a resend."""

    task_id: str
    gateway: str
    what: What
    delivery_id: str | None


class NotWatchedError(LookupError):
    """No row with this task id."""


class AmbiguousError(LookupError):
    """Several gateways have a task with this id; `gateways` names them."""

    def __init__(self, *, task_id: str, gateways: Sequence[str]) -> None:
        """Name the gateways in the text."""
        super().__init__(f"{task_id!a} is watched at several gateways: {', '.join(gateways)}")
        self.gateways = tuple(gateways)


def resend(
    session: Session,
    *,
    task_id: str,
    gateway: str | None = None,
    notify_hook: str | None = None,
    allow: Allow,
) -> Resent:
    """Make the result of a task due again at once; `notify_hook` also corrects where it goes.

    Without `gateway` the only row with that id is meant.

    Raises:
        NotWatchedError: There is no such row.
        AmbiguousError: There are several; name the gateway.
        Refused: The hook is bad, or there is nothing to send yet.

    """
    hook = None if notify_hook is None else _checked(notify_hook, allow=allow)
    task = _find(session, task_id=task_id, gateway=gateway)
    if hook is not None:
        session.execute(update(SunoTask).where(SunoTask.id == task.id).values(notify_hook=hook))
    if task.status not in TERMINAL:
        if hook is None:
            reason = f"{task_id!a} is not finished ({task.status}); its result is sent when it is"
            raise Refused(field="task_id", reason=reason)
        return Resent(task_id=task_id, gateway=task.gateway, what=What.HOOK_CORRECTED, delivery_id=None)
    return _resend_finished(session, task=task, hook=hook, now=read_now(session))


def _resend_finished(session: Session, *, task: SunoTask, hook: str | None, now: datetime) -> Resent:
    delivery = session.scalars(
        select(Delivery)
        .where(Delivery.suno_task_id == task.id, Delivery.event == deliveries.FINISHED)
        .with_for_update(key_share=True)
    ).one_or_none()
    if delivery is None:
        if hook is None:
            reason = f"{task.task_id!a} has none; name one with --notify-hook URL"
            raise Refused(field="notify_hook", reason=reason)
        owed = deliveries.Owed(
            id=new_delivery_id(now=now), suno_task_id=task.id, notify_hook=hook, origin=origin_of(hook)
        )
        deliveries.add(session, owed=[owed], now=now)
        return Resent(task_id=task.task_id, gateway=task.gateway, what=What.DUE_NOW, delivery_id=owed.id)
    if delivery.leased_until is not None and delivery.leased_until > now:
        if hook is not None:
            # What this POST brings would be taken for the new hook's answer.
            seconds = int((delivery.leased_until - now).total_seconds()) + 1
            reason = (
                f"the result is being sent to the old one at this moment; try again in {seconds} s at most"
            )
            raise Refused(field="notify_hook", reason=reason)
        return Resent(
            task_id=task.task_id, gateway=task.gateway, what=What.IN_FLIGHT, delivery_id=delivery.id
        )
    if hook is not None:
        delivery.notify_hook, delivery.origin = hook, origin_of(hook)
    make_pending(delivery, trigger=Trigger.RESEND, now=now)
    session.flush()
    origins.make_due(session, origins=[delivery.origin], now=now)
    return Resent(task_id=task.task_id, gateway=task.gateway, what=What.DUE_NOW, delivery_id=delivery.id)


def make_pending(delivery: Delivery, *, trigger: Trigger, now: datetime) -> None:
    """Let a delivery that nobody is sending be sent at once, under its old id.

    One that had ended begins its schedule anew; its attempts stay in the log, and their numbers go on.
    """
    if delivery.state != deliveries.State.PENDING.value:
        delivery.attempt_count = 0
    delivery.state = deliveries.State.PENDING.value
    delivery.trigger = trigger.value
    delivery.next_attempt_at = now
    delivery.leased_until = delivery.delivered_at = delivery.discarded_at = delivery.discard_reason = None


def _find(session: Session, *, task_id: str, gateway: str | None) -> SunoTask:
    # Locked before the status is read: a poll that ends the task at this moment comes before us or after.
    wanted = select(SunoTask).where(SunoTask.task_id == task_id).order_by(SunoTask.gateway)
    if gateway is not None:
        wanted = wanted.where(SunoTask.gateway == gateway)
    found = session.scalars(wanted.with_for_update(key_share=True)).all()
    if not found:
        where = "" if gateway is None else f" at gateway {gateway!a}"
        message = f"{task_id!a} is not watched{where}"
        raise NotWatchedError(message)
    if len(found) > 1:
        raise AmbiguousError(task_id=task_id, gateways=[task.gateway for task in found])
    return found[0]


def _checked(notify_hook: str, *, allow: Allow) -> str:
    try:
        return check_notify_hook(notify_hook, allow=allow)
    except BadHook as error:
        raise Refused(field="notify_hook", reason=str(error)) from None
