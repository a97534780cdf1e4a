"""The verb `migrate`."""

from __future__ import annotations

import click

from worker.cli.connections import database_place, open_database
from worker.cli.terminal import JSON, examples, print_json
from worker.db import gateways
from worker.db.clock import read_now
from worker.db.migrate import upgrade
from worker.db.revisions import unknown
from worker.library import policy_of
from worker.settings import load_settings


@click.command(epilog=examples("suno-worker migrate", "suno-worker migrate --json | jq .applied"))
@JSON
def migrate(*, as_json: bool) -> None:
    """Bring the database to this version's tables, and note the configured gateways in it.

    Run it before the workers of a new version. Two at once are safe: the second waits for the first and finds
    nothing to do. After a way back to the version before, the newer tables stay: they serve both.
    """
    settings = load_settings()
    with open_database(settings, create=True) as sessions:
        engine = sessions.kw["bind"]
        newer = unknown(engine)
        applied = [] if newer else upgrade(engine)
        with sessions.begin() as session:
            gateways.remember(session, batch_sizes=policy_of(settings).batch_sizes, now=read_now(session))
    if as_json:
        print_json({"database": database_place(settings), "applied": applied, "newer": newer})
        return
    done = f"applied {', '.join(applied)}" if applied else "nothing to do"
    if newer:
        done = (
            f"migrated by a newer version ({', '.join(newer)}), whose tables serve the one before it; {done}"
        )
    click.echo(f"{database_place(settings)}: {done}")
