"""What a sender may ask: the arguments of an enqueue, and every way in which they can be wrong.

The same checks stand at every door: Celery, command line and `worker.enqueue`. A refusal names the argument
first, then its problem and what to do, in one printable line that repeats no password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from worker.core.addresses import Allow
from worker.core.hooks import BadHook, check_notify_hook
from worker.core.lifecycle import Action

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
class Policy:
    """What this installation accepts: gateway names with their batch sizes, and exceptions for hooks."""

    batch_sizes: Mapping[str, int]
    allow: Allow
    first_poll_delay: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A request that can be taken; `gateway` is the one that is meant."""

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


def check(request: Request, *, policy: Policy) -> Checked:
    """Return the request as it can be written, or raise `Refused`."""
    return Checked(
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
        # Only plain letters: upper() also makes MUSIC of a dotless i.
        return Action(action.upper() if action.isascii() else action)
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
    gateway = gateway.lower()  # as the <NAME> of its variables
    if gateway not in names:
        known = ", ".join(names)
        raise Refused(field="gateway", reason=f"{gateway[:64]!a} is not configured; name one of {known}")
    return gateway


def printable(text: str) -> str:
    """Return `text` with all that is not printable spelled as escapes, fit for a log and a table."""
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
