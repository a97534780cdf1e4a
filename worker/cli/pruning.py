"""The verb `prune`: what Beat does every hour, now and before your eyes."""

from __future__ import annotations

import threading

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import DBAPIError

from worker.cli.connections import open_database
from worker.cli.failures import explain_database
from worker.cli.terminal import JSON, examples, print_json, progress
from worker.db.session import Sessions, reading
from worker.prune import count_past, pruned
from worker.settings import Settings, load_settings

NAMES = {"suno_tasks": "Suno tasks", "rejections": "rejections", "origins": "idle origins"}


@click.command(epilog=examples("suno-worker prune --dry-run", "suno-worker prune"))
@click.option("--dry-run", is_flag=True, help="Only count the Suno tasks; change nothing.")
@JSON
def prune(dry_run: bool, as_json: bool) -> None:
    """Delete finished Suno tasks that are older than WORKER_RETENTION, with all that is theirs.

    Never one whose delivery is still PENDING. Rejections go after 7 days, idle receivers too. Workers do this
    every hour; call it after WORKER_RETENTION was made shorter. Nobody has to wait for it.
    """
    settings = load_settings()
    with open_database(settings) as sessions:
        with reading(sessions) as session:
            total = count_past(session, retention=settings.retention)
        removed = {"suno_tasks": 0} if dry_run else _prune(sessions, settings=settings, total=total)
    if as_json:
        print_json({"past_retention": total, "dry_run": dry_run, "removed": removed})
    elif dry_run:
        click.echo(f"{total} Suno tasks are past WORKER_RETENTION")
    else:
        click.echo("deleted " + ", ".join(f"{number} {NAMES[what]}" for what, number in removed.items()))


def _prune(sessions: Sessions, *, settings: Settings, total: int) -> dict[str, int]:
    """Delete all that is past its time, with a bar where a person looks; return how much of each went."""
    removed = dict.fromkeys(NAMES, 0)
    columns = (TextColumn("Suno tasks"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with progress(*columns) as shown:
        bar = shown.add_task("", total=total)
        try:
            for what, number in pruned(sessions, retention=settings.retention, stop=threading.Event()):
                removed[what] += number
                shown.update(bar, completed=removed["suno_tasks"])
        except (DBAPIError, KeyboardInterrupt) as error:
            why = explain_database(error) if isinstance(error, DBAPIError) else "interrupted"
            raise click.ClickException(
                f"stopped after {removed['suno_tasks']} Suno tasks; call again for the rest: {why}"
            ) from error
    return removed
