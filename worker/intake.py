"""Put a Suno task under watch: once, whatever door it came through and however often it comes.

A request is checked, then written: the task in state SUBMITTED, its first transition, and its place in a
poll batch. The same request again changes nothing; the same id with another action or hook is refused,
because one of the two senders is wrong and we cannot know which. Nothing here commits: the transaction is
the caller's, so a service can watch a task in the transaction that records its submission.

Each call makes its own poll batches and touches no existing one, so enqueues never wait for each other or for
the poller.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from worker.core.addresses import Allow
from worker.core.hooks import BadHook, check_notify_hook
from worker.core.lifecycle import Action, Status
from worker.core.schedule import first_poll_delay
from worker.db import gateways, poll_batches, rejections, suno_tasks
from worker.db.clock import read_now
from worker.db.suno_tasks import Existing

LONGEST_TASK_ID = 191  # characters: the widest id column of the gateway family
DEFAULT_GATEWAY = "default"
ARGUMENTS = ("task_id", "action", "notify_hook", "gateway")


class Refused(ValueError):
    """A request that cannot be taken: `field` names the argument, `reason` its problem and what to do."""

    def __init__(self, *, field: str, reason: str) -> None:
        """Make the one-line text `field: reason`."""
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a sender asks: watch `task_id` at `gateway` and POST its result to `notify_hook`, if any."""

    task_id: str
    action: str
    notify_hook: str | None = None
    gateway: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """The task is under watch. `created` is false when it was before; then nothing was changed."""

    task_id: str
    gateway: str
    created: bool
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What this installation accepts: gateway names with their batch sizes, and exceptions for hooks."""

    batch_sizes: Mapping[str, int]
    allow: Allow
    first_poll_delay: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    task_id: str
    action: Action
    notify_hook: str | None
    gateway: str


def parse_request(arguments: Mapping[str, object]) -> Request:
    """Return the request in keyword arguments from outside; raise `Refused` when they are none."""
    for name in arguments:
        if name not in ARGUMENTS:
            raise Refused(field=printable(name), reason=f"unknown argument; known are {', '.join(ARGUMENTS)}")
    for name in ("task_id", "action"):
        if arguments.get(name) is None:
            raise Refused(field=name, reason="missing; it is required")
    for name, value in arguments.items():
        if value is not None and not isinstance(value, str):
            raise Refused(field=name, reason=f"must be a string, not {type(value).__name__}")
    return Request(**{name: value for name, value in arguments.items() if isinstance(value, str)})


def put_under_watch(
    session: Session, *, requests: Sequence[Request], policy: Policy
) -> list[Enqueued | Refused]:
    """Take each request that can be taken and return, in order, what became of it.

    Refusals are returned, not raised: one bad line does not keep the others out. Writes into the caller's
    transaction.
    """
    checked = [_check_or_refuse(request, policy=policy) for request in requests]
    groups: dict[tuple[str, Action], dict[str, _Checked]] = {}
    for one in checked:
        if isinstance(one, _Checked):
            groups.setdefault((one.gateway, one.action), {}).setdefault(one.task_id, one)
    created: set[tuple[str, str]] = set()
    if groups:
        used = {name: policy.batch_sizes[name] for name, _ in groups}
        gateways.add_missing(session, batch_sizes=used)
        now = read_now(session)
        for (gateway, action), wanted in sorted(groups.items()):
            new = _add_missing(session, gateway=gateway, action=action, wanted=wanted, policy=policy, now=now)
            created |= {(gateway, task_id) for task_id in new}
    return _outcomes(session, checked=checked, created=created)


def reject(session: Session, *, source: str, reason: str, arguments: object) -> None:
    """Keep a refusal for `suno-worker rejections`, as its sender may not listen; mask passwords in URLs."""
    text = json.dumps(arguments, ensure_ascii=False, default=repr).encode(errors="replace").decode()
    rejections.add(
        session,
        source=printable(source),
        reason=printable(reason),
        arguments=_without_nul(re.sub(r"//[^/@\s\"]*@", "//***@", text)),
        now=read_now(session),
    )


def printable(text: str) -> str:
    """Return `text` with all that is not printable spelled as escapes, fit for a log and a table."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _without_nul(text: str) -> str:
    return text.replace("\0", "\\u0000")  # PostgreSQL stores every character but this one


def _check_or_refuse(request: Request, *, policy: Policy) -> _Checked | Refused:
    try:
        return _check(request, policy=policy)
    except Refused as refusal:
        return refusal


def _check(request: Request, *, policy: Policy) -> _Checked:
    return _Checked(
        task_id=_check_task_id(request.task_id),
        action=_check_action(request.action),
        notify_hook=_check_hook(request.notify_hook, allow=policy.allow),
        gateway=_check_gateway(request.gateway, names=sorted(policy.batch_sizes)),
    )


def _check_task_id(task_id: str) -> str:
    if not task_id:
        raise Refused(field="task_id", reason="is empty; pass the id that the gateway's submit answered")
    if len(task_id) > LONGEST_TASK_ID:
        raise Refused(
            field="task_id", reason=f"has {len(task_id)} characters; at most {LONGEST_TASK_ID} are allowed"
        )
    if not task_id.isprintable():
        raise Refused(
            field="task_id", reason=f"{task_id!a} holds a character that is not printable; remove it"
        )
    return task_id


def _check_action(action: str) -> Action:
    try:
        return Action(action.upper())
    except ValueError:
        known = " or ".join(Action)
        raise Refused(field="action", reason=f"{action[:40]!a} is unknown; use {known}") from None


def _check_hook(notify_hook: str | None, *, allow: Allow) -> str | None:
    if notify_hook is None:
        return None
    try:
        return check_notify_hook(notify_hook, allow=allow)
    except BadHook as error:
        raise Refused(field="notify_hook", reason=str(error)) from None


def _check_gateway(gateway: str | None, *, names: Sequence[str]) -> str:
    if not names:
        reason = "no gateway is configured; set WORKER_GATEWAYS__<NAME>__BASE_URL and …__API_KEY"
        raise Refused(field="gateway", reason=reason)
    if gateway is None:
        gateway = names[0] if len(names) == 1 else DEFAULT_GATEWAY
        if gateway not in names:
            raise Refused(
                field="gateway", reason=f"missing, and several are configured; name one of {', '.join(names)}"
            )
    if gateway not in names:
        known = ", ".join(names)
        raise Refused(field="gateway", reason=f"{gateway[:64]!a} is not configured; name one of {known}")
    return gateway


def _add_missing(
    session: Session,
    *,
    gateway: str,
    action: Action,
    wanted: Mapping[str, _Checked],
    policy: Policy,
    now: datetime,
) -> list[str]:
    """Insert those of `wanted` that are not there, in batches of the gateway's size; return their ids."""
    there = suno_tasks.find(session, gateway=gateway, task_ids=wanted)
    # One order for all senders: two that bring the same ids at once wait for each other, and never in a ring.
    new = [wanted[task_id] for task_id in sorted(wanted) if task_id not in there]
    size = policy.batch_sizes[gateway]
    due = now + first_poll_delay(action=action, first_poll_delay=policy.first_poll_delay)
    added: list[str] = []
    for start in range(0, len(new), size):
        added += _add_batch(session, tasks=new[start : start + size], due=due, now=now)
    return added


def _add_batch(session: Session, *, tasks: Sequence[_Checked], due: datetime, now: datetime) -> Iterable[str]:
    gateway, action = tasks[0].gateway, tasks[0].action
    batch_id = poll_batches.add(session, gateway=gateway, action=action, next_poll_at=due, youngest_at=now)
    rows: list[dict[str, Any]] = [
        {
            "gateway": gateway,
            "task_id": task.task_id,
            "action": action.value,
            "notify_hook": task.notify_hook,
            "status": Status.SUBMITTED.value,
            "enqueued_at": now,
            "poll_batch_id": batch_id,
        }
        for task in tasks
    ]
    ids = suno_tasks.add_missing(session, rows=rows)
    if not ids:
        poll_batches.delete_empty(session, batch_id=batch_id)
    first = [(row_id, None, Status.SUBMITTED.value) for row_id in ids.values()]
    suno_tasks.add_transitions(session, rows=first, now=now)
    return ids


def _outcomes(
    session: Session, *, checked: Sequence[_Checked | Refused], created: set[tuple[str, str]]
) -> list[Enqueued | Refused]:
    """Compare what was asked with what is there now; the first to ask for a new task is its creator."""
    by_gateway: dict[str, set[str]] = {}
    for one in checked:
        if isinstance(one, _Checked):
            by_gateway.setdefault(one.gateway, set()).add(one.task_id)
    there = {name: suno_tasks.find(session, gateway=name, task_ids=ids) for name, ids in by_gateway.items()}
    outcomes: list[Enqueued | Refused] = []
    for one in checked:
        if isinstance(one, Refused):
            outcomes.append(one)
            continue
        key = (one.gateway, one.task_id)
        outcomes.append(_outcome(one, existing=there[one.gateway][one.task_id], created=key in created))
        if isinstance(outcomes[-1], Enqueued):
            created.discard(key)
    return outcomes


def _outcome(wanted: _Checked, *, existing: Existing, created: bool) -> Enqueued | Refused:
    already = f"{wanted.task_id!a} is already watched at gateway {wanted.gateway!r}"
    if existing.action != wanted.action:
        return Refused(field="action", reason=f"{already} with action {existing.action}; nothing was changed")
    if existing.notify_hook != wanted.notify_hook:
        what = "without a notify_hook" if existing.notify_hook is None else "with another notify_hook"
        fix = "nothing was changed; `suno-worker resend TASK_ID --notify-hook URL` corrects a hook"
        return Refused(field="notify_hook", reason=f"{already} {what}; {fix}")
    return Enqueued(task_id=wanted.task_id, gateway=wanted.gateway, created=created, status=existing.status)
