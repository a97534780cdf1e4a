"""The verb `migrate`."""

from __future__ import annotations

import click

from worker.cli.connections import database_place, open_database
from worker.cli.terminal import examples
from worker.db import gateways
from worker.db.clock import read_now
from worker.db.migrate import unknown, upgrade
from worker.library import policy_of
from worker.settings import load_settings


@click.command(epilog=examples("suno-worker migrate"))
def migrate() -> None:
    """Bring the database to this version's tables, and note the configured gateways in it.

    Run it before the workers of a new version. Two at once are safe: the second waits for the first and finds
    nothing to do.
    """
    settings = load_settings()
    with open_database(settings, create=True) as sessions:
        engine = sessions.kw["bind"]
        newer = unknown(engine)
        if newer:
            raise click.ClickException(
                f"the database was migrated by a newer version ({', '.join(newer)}): install that one here"
            )
        applied = upgrade(engine)
        with sessions.begin() as session:
            gateways.remember(session, batch_sizes=policy_of(settings).batch_sizes, now=read_now(session))
    done = f"applied {', '.join(applied)}" if applied else "nothing to do"
    click.echo(f"{database_place(settings)}: {done}")
