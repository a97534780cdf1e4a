"""The verb `recover`: send again what was given up in a stretch of time, when its receivers are back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import click
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TimeElapsedColumn
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from worker import recovery
from worker.cli.connections import open_database
from worker.cli.failures import explain_database
from worker.cli.moments import Moment, at_moment
from worker.cli.recovery_report import Recovery, origins_section, recovery_json, summary
from worker.cli.terminal import JSON, at, examples, print_json, print_sections, progress
from worker.core.hooks import BadHook
from worker.core.webhook import origin_of
from worker.db.clock import read_now
from worker.db.session import Sessions, reading
from worker.settings import load_settings


def read_origin(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the origin as the tables have it. What is wrong never quotes the URL: it may hold a secret."""
    try:
        return None if value is None else origin_of(value.strip())
    except BadHook as error:
        wrong = str(error)
    except ValueError:
        wrong = "the host is no name that can be looked up, and no address"
    raise click.BadParameter(f"{wrong}; example: https://receiver.example:8443", ctx=ctx, param=param)


@click.command(
    epilog=examples(
        "suno-worker recover --since 2h --dry-run",
        "suno-worker recover --since 2026-11-21T08:00 --until 2026-11-21T09:30",
        "suno-worker recover --since 3d --until 1d --origin https://receiver.example",
    )
)
@click.option("--since", type=Moment(), metavar="TIME", required=True, help="Given up at this time or later.")
@click.option(
    "--until", type=Moment(), metavar="TIME", default="now", show_default=True, help="Given up before."
)
@click.option(
    "--origin",
    metavar="URL",
    callback=read_origin,
    help="Only this receiver: scheme, host and port; of a whole URL the rest is left out.",
)
@click.option("--dry-run", is_flag=True, help="Only count them, for each receiver; change nothing.")
@JSON
def recover(
    since: datetime | timedelta,
    until: datetime | timedelta,
    origin: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Send again the DISCARDED deliveries of a stretch of time, at once and under the same webhook-ids.

    A TIME is ISO 8601 (2026-11-21T08:30, 2026-11-21T09:30+01:00; without a zone it is UTC), a date (its first
    moment in UTC), how long ago (30s, 30m, 2h, 3d, 1w), or now. One call takes the oldest 10,000 and says
    when there are more. Receivers are not overrun: limits and breakers stand between.
    """
    with open_database(load_settings()) as sessions:
        found = _look(sessions, since=since, until=until, origin=origin, dry_run=dry_run)
        done = found if dry_run else replace(found, recovered=_recover(sessions, found))
    if as_json:
        print_json(recovery_json(done))
        return
    if dry_run:
        print_sections([origins_section(done)])
    click.echo(summary(done))


def _look(
    sessions: Sessions,
    *,
    since: datetime | timedelta,
    until: datetime | timedelta,
    origin: str | None,
    dry_run: bool,
) -> Recovery:
    """Return what there is to recover; wrong usage when the range is none."""
    with reading(sessions) as session:
        now = read_now(session)
    begin = at_moment(since, now=now)
    # What is given up after this moment is no part of it: it would be sent again without end.
    end = min(at_moment(until, now=now), now)
    if begin >= end:
        raise click.BadParameter(
            f"{at(begin)} is not before --until, which is {at(end)} (now at the latest);"
            " example: --since 2h --until 1h",
            param_hint="'--since'",
        )
    found = recovery.count_by_origin(sessions, since=begin, until=end, origin=origin)
    return Recovery(since=begin, until=end, origin=origin, dry_run=dry_run, origins=found)


def _recover(sessions: Sessions, wanted: Recovery) -> int:
    """Make all due that one call takes, with a bar where a person looks; return how many."""
    total = min(wanted.found, recovery.MOST)
    columns = (BarColumn(), MofNCompleteColumn(), Rate(), TimeElapsedColumn())
    done = 0
    with progress(*columns) as shown:
        bar = shown.add_task("", total=total)
        try:
            for group in recovery.recover(
                sessions, since=wanted.since, until=wanted.until, origin=wanted.origin
            ):
                done += group
                shown.update(bar, completed=done)
        except (DBAPIError, KeyboardInterrupt) as error:
            why = explain_database(error) if isinstance(error, DBAPIError) else "interrupted"
            raise click.ClickException(
                f"stopped after {done} deliveries, which are due now; call again for the rest: {why}"
            ) from error
    return done


class Rate(ProgressColumn):
    """Deliveries a second."""

    def render(self, task: Task) -> Text:
        """Return the speed of the last 30 s; a dash until there is one."""
        return Text("-/s" if task.speed is None else f"{task.speed:.0f}/s")
