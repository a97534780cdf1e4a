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
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from worker.core.lifecycle import Action, Status
from worker.core.schedule import first_poll_delay
from worker.db import gateways, poll_batches, rejections, suno_tasks
from worker.db.clock import read_now
from worker.db.suno_tasks import Existing
from worker.request import Checked, Policy, Refused, Request, check, printable


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """The task is under watch. `created` is false when it was before; then nothing was changed."""

    task_id: str
    gateway: str
    created: bool
    status: str


def put_under_watch(
    session: Session, *, requests: Sequence[Request], policy: Policy
) -> list[Enqueued | Refused]:
    """Take each request that can be taken and return, in order, what became of it.

    Refusals are returned, not raised: one bad line does not keep the others out. Writes into the caller's
    transaction.
    """
    checked = [_check_or_refuse(request, policy=policy) for request in requests]
    firsts: dict[tuple[str, str], Checked] = {}
    for one in checked:
        if isinstance(
            one, Checked
        ):  # of several with one id, the first decides; the others are compared with it
            firsts.setdefault((one.gateway, one.task_id), one)
    groups: dict[tuple[str, Action], dict[str, Checked]] = {}
    for one in firsts.values():
        groups.setdefault((one.gateway, one.action), {})[one.task_id] = one
    created: set[tuple[str, str]] = set()
    if groups:
        used = {name: policy.batch_sizes[name] for name, _ in groups}
        now = read_now(session)
        gateways.add_missing(session, batch_sizes=used, now=now)
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


def _without_nul(text: str) -> str:
    return text.replace("\0", "\\u0000")  # PostgreSQL stores every character but this one


def _check_or_refuse(request: Request, *, policy: Policy) -> Checked | Refused:
    try:
        return check(request, policy=policy)
    except Refused as refusal:
        return refusal


def _add_missing(
    session: Session,
    *,
    gateway: str,
    action: Action,
    wanted: Mapping[str, Checked],
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


def _add_batch(session: Session, *, tasks: Sequence[Checked], due: datetime, now: datetime) -> Iterable[str]:
    gateway, action = tasks[0].gateway, tasks[0].action
    batch_id = poll_batches.add(
        session, gateway=gateway, action=action, size=len(tasks), next_poll_at=due, youngest_at=now
    )
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
    if len(ids) < len(tasks):  # another sender brought them between our look and our insert
        poll_batches.shrink(session, left={batch_id: len(tasks) - len(ids)})
        poll_batches.delete_empty(session, batch_ids=[batch_id])
    first = [(row_id, None, Status.SUBMITTED.value) for row_id in ids.values()]
    suno_tasks.add_transitions(session, rows=first, now=now)
    return ids


def _outcomes(
    session: Session, *, checked: Sequence[Checked | Refused], created: set[tuple[str, str]]
) -> list[Enqueued | Refused]:
    """Compare what was asked with what is there now; the first to ask for a new task is its creator."""
    by_gateway: dict[str, set[str]] = {}
    for one in checked:
        if isinstance(one, Checked):
            by_gateway.setdefault(one.gateway, set()).add(one.task_id)
    there = {name: suno_tasks.find(session, gateway=name, task_ids=ids) for name, ids in by_gateway.items()}
    outcomes: list[Enqueued | Refused] = []
    for one in checked:
        if isinstance(one, Refused):
            outcomes.append(one)
            continue
        key = (one.gateway, one.task_id)
        existing = there[one.gateway].get(one.task_id)
        outcomes.append(_outcome(one, existing=existing, created=key in created))
        if isinstance(outcomes[-1], Enqueued):
            created.discard(key)
    return outcomes


def _outcome(wanted: Checked, *, existing: Existing | None, created: bool) -> Enqueued | Refused:
    if existing is None:
        reason = (
            f"{wanted.task_id!a} was past its retention and is being removed at this moment; send it again"
        )
        return Refused(field="task_id", reason=reason)
    already = f"{wanted.task_id!a} is already watched at gateway {wanted.gateway!r}"
    if existing.action != wanted.action:
        fix = "nothing was changed; send that action, or the other task's own id"
        return Refused(field="action", reason=f"{already} with action {existing.action}; {fix}")
    if existing.notify_hook != wanted.notify_hook:
        what = "without a notify_hook" if existing.notify_hook is None else "with another notify_hook"
        fix = "nothing was changed; `suno-worker resend TASK_ID --notify-hook URL` corrects a hook"
        return Refused(field="notify_hook", reason=f"{already} {what}; {fix}")
    return Enqueued(task_id=wanted.task_id, gateway=wanted.gateway, created=created, status=existing.status)
