"""Which Suno task a person means: its id, and its gateway only when the id alone is not enough."""

from __future__ import annotations

import click
from sqlalchemy.orm import Session

from worker.cli.terminal import printable
from worker.db.history import find_gateways
from worker.request import LONGEST_TASK_ID


class TaskId(click.ParamType[str]):
    """The id that a gateway gave: 1 to 191 characters that can be seen, surrounding spaces not among them."""

    name = "task_id"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id unchanged, or end with wrong usage."""
        if not 1 <= len(value) <= LONGEST_TASK_ID or not value.isprintable():
            self.fail(f"a Suno task's id has 1 to {LONGEST_TASK_ID} printable characters", param, ctx)
        return value


def lower_name(ctx: click.Context, param: click.Parameter, name: str | None) -> str | None:
    """Return a gateway's name as the settings have it: in lower case."""
    del ctx, param
    return None if name is None else name.strip().lower()


TASK_ID = click.argument("task_id", type=TaskId(), metavar="TASK_ID")
GATEWAY = click.option(
    "--gateway",
    metavar="NAME",
    type=str,
    callback=lower_name,
    help="The gateway's name; needed only when several have a task of this id.",
)


def choose_gateway(session: Session, *, task_id: str, gateway: str | None) -> str:
    """Return the gateway of the one Suno task that is meant.

    No such task: exit code 1. Several, and none of them named: exit code 2, with their names.
    """
    names = find_gateways(session, task_id=task_id)
    shown = ", ".join(printable(name) for name in names)
    if not names:
        raise click.ClickException(
            f"there is no Suno task {printable(task_id)}; `suno-worker enqueue` puts one under watch"
        )
    if gateway is not None and gateway not in names:
        raise click.ClickException(
            f"gateway {printable(gateway)} has no Suno task {printable(task_id)}; it is at {shown}: name that"
        )
    if gateway is None and len(names) > 1:
        raise click.UsageError(
            f"Suno task {printable(task_id)} is at several gateways: {shown}; name one with --gateway"
        )
    return gateway or names[0]
