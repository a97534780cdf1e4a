"""The door for Python services that share the database: `worker.enqueue(session, …)`."""

from __future__ import annotations

from sqlalchemy.orm import Session

from worker.db import gateways
from worker.intake import Enqueued, put_under_watch
from worker.request import Policy, Refused, parse_request
from worker.settings import Settings, load_intake_settings


def enqueue(
    session: Session, *, task_id: str, action: str, notify_hook: str | None = None, gateway: str | None = None
) -> Enqueued:
    """Put a Suno task under watch, in the caller's own transaction.

    The task is watched if and only if that transaction commits. Call it again with the same arguments as
    often as you like: nothing is changed or sent twice. With an async session: `await
    session.run_sync(enqueue, …)` through a small function or `functools.partial`.

    Args:
        session: A session on suno-worker's database. It is neither committed nor closed.
        task_id: The id that the gateway's submit answered; 1-191 printable characters.
        action: `MUSIC` or `LYRICS`, in any case.
        notify_hook: An http or https URL of at most 2,048 characters, or None to only watch.
        gateway: A gateway's name. None: the only one there is, else `default`.

    Raises:
        worker.Refused: An argument is wrong, or the task is watched with other arguments. Nothing was
        written.

    """
    known = gateways.batch_sizes(session)
    own = load_intake_settings()
    policy = Policy(batch_sizes=known, allow=own.webhook_allow, first_poll_delay=own.first_poll_delay)
    arguments = {"task_id": task_id, "action": action, "notify_hook": notify_hook, "gateway": gateway}
    request = parse_request(arguments)
    (outcome,) = put_under_watch(session, requests=[request], policy=policy)
    if isinstance(outcome, Refused):
        raise outcome
    return outcome


def policy_of(settings: Settings) -> Policy:
    """Return what the settings accept."""
    return Policy(
        batch_sizes={name: gateway.batch_size for name, gateway in settings.gateways.items()},
        allow=settings.webhook_allow,
        first_poll_delay=settings.first_poll_delay,
    )
