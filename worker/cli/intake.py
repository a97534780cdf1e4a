"""Verbs that put Suno tasks under watch or send results again: `enqueue`, `resend`.

Both write rows themselves and need no broker: a worker's next look at its due times finds them.
"""

from __future__ import annotations

from typing import BinaryIO

import click

from worker.cli.connections import open_database
from worker.cli.selection import GATEWAY, TASK_ID, TaskId, choose_gateway, lower_name
from worker.cli.terminal import JSON, examples, print_json, printable
from worker.core.lifecycle import Action
from worker.db import gateways
from worker.db.session import Sessions, reading
from worker.intake import Enqueued, put_under_watch
from worker.library import policy_of
from worker.replay import What
from worker.replay import resend as send_again
from worker.request import Policy, Refused, Request
from worker.settings import Settings, load_settings


@click.command(
    epilog=examples(
        "suno-worker enqueue TASK_ID --action MUSIC --notify-hook https://example.com/hook",
        "suno-worker enqueue TASK_ID --action LYRICS --gateway openai-hub",
        "suno-worker enqueue --file TASKS.jsonl",
        """echo '{"task_id": "…", "action": "MUSIC"}' | suno-worker enqueue --file -""",
    )
)
@click.argument("task_id", type=TaskId(), required=False)
@click.option(
    "--action",
    type=click.Choice([action.value for action in Action], case_sensitive=False),
    metavar="|".join(Action),
    help="What the task makes.",
)
@click.option(
    "--notify-hook", metavar="URL", help="Where to POST the result. Without it the task is only watched."
)
@click.option(
    "--gateway",
    metavar="NAME",
    callback=lower_name,
    help="A configured gateway; needed when there are several.",
)
@click.option(
    "--file",
    "stream",
    type=click.File("rb"),
    help="Take the arguments from a file, one JSON object on each line; - is stdin.",
)
@JSON
@click.pass_context
def enqueue(
    ctx: click.Context,
    task_id: str | None,
    action: str | None,
    notify_hook: str | None,
    gateway: str | None,
    stream: BinaryIO | None,
    as_json: bool,
) -> None:
    """Put Suno tasks under watch: one by its TASK_ID, or many from a file.

    It writes to the database and needs no broker. The same arguments again change nothing. Of a file, 100
    lines at a time are written together; lines that cannot be taken are named on stderr, the others are done,
    and the exit code is 1. With --json a file's lines are counted: created, known, refused.
    """
    if stream is not None:
        if task_id or action or notify_hook or gateway:
            raise click.UsageError(
                "--file brings all arguments: leave out TASK_ID and the other options", ctx
            )
    elif task_id is None or action is None:
        raise click.UsageError("pass TASK_ID and --action, or --file", ctx)
    settings = load_settings()
    with open_database(settings) as sessions:
        policy = current_policy(sessions, settings=settings)
        if stream is not None:
            from worker.cli.bulk import enqueue_lines

            enqueue_lines(sessions, stream=stream, policy=policy, as_json=as_json)
        elif task_id is not None and action is not None:
            request = Request(task_id=task_id, action=action, notify_hook=notify_hook, gateway=gateway)
            _enqueue_one(sessions, request=request, policy=policy, as_json=as_json)


@click.command(
    epilog=examples(
        "suno-worker resend TASK_ID",
        "suno-worker resend TASK_ID --notify-hook https://example.com/new-hook",
    )
)
@TASK_ID
@GATEWAY
@click.option("--notify-hook", metavar="URL", help="Send it there, from now on.")
@JSON
def resend(task_id: str, gateway: str | None, notify_hook: str | None, as_json: bool) -> None:
    """Send the result of a finished task again, at once and under the same webhook-id.

    With --notify-hook it also corrects the hook of a delivery that is still pending, or of a task that is not
    finished yet.
    """
    settings = load_settings()
    with open_database(settings) as sessions, sessions.begin() as session:
        chosen = choose_gateway(session, task_id=task_id, gateway=gateway)
        resent = send_again(
            session, task_id=task_id, gateway=chosen, notify_hook=notify_hook, allow=settings.webhook_allow
        )
    if as_json:
        print_json(resent)
        return
    said = {
        What.DUE_NOW: "is due now",
        What.IN_FLIGHT: "is being sent at this moment and was left alone",
        What.HOOK_CORRECTED: "is not finished; its result will go to the new notify_hook",
    }
    delivery = f" (delivery {resent.delivery_id})" if resent.delivery_id else ""
    click.echo(f"{printable(resent.task_id)} at gateway {resent.gateway} {said[resent.what]}{delivery}")


def current_policy(sessions: Sessions, *, settings: Settings) -> Policy:
    """Return what may be enqueued: the gateways set here, or else those that a worker has named.

    So a second terminal beside `up` needs no settings of its own.
    """
    if settings.gateways:
        return policy_of(settings)
    with reading(sessions) as session:
        known = gateways.batch_sizes(session)
    return Policy(batch_sizes=known, allow=settings.webhook_allow, first_poll_delay=settings.first_poll_delay)


def _enqueue_one(sessions: Sessions, *, request: Request, policy: Policy, as_json: bool) -> None:
    with sessions.begin() as session:
        (outcome,) = put_under_watch(session, requests=[request], policy=policy)
    match outcome:
        case Refused():
            raise outcome
        case Enqueued() if as_json:
            print_json(outcome)
        case Enqueued():
            word = "is now watched" if outcome.created else "was watched already, nothing was changed"
            click.echo(f"{printable(outcome.task_id)} at gateway {outcome.gateway} {word}: {outcome.status}")
