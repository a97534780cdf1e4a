"""Verbs about the configuration: what is set, and a new secret to set."""

from __future__ import annotations

import secrets

import click

from worker.cli.terminal import JSON, Section, examples, print_json, print_sections
from worker.core.signature import new_secret
from worker.settings import load_settings
from worker.settings.sources import sources

SECRET_BYTES = 32  # as long as the output of HMAC-SHA256; more would add nothing


@click.command(epilog=examples("suno-worker settings", "suno-worker settings --json | jq -r '.[].variable'"))
@JSON
def settings(*, as_json: bool) -> None:
    """Show every setting with its value, unit and source.

    Passwords, keys and secrets are masked. Exit code 1 when a value is wrong: then every mistake is listed.
    """
    rows = sources(load_settings())
    if as_json:
        print_json(rows)
    else:
        columns = ("variable", "value", "unit", "source")
        shown = [(row.variable, readable(row.value), row.unit, row.source) for row in rows]
        print_sections([Section(title="Settings", columns=columns, rows=shown)])


@click.command(
    epilog=examples("suno-worker secret", "export WORKER_WEBHOOK_SECRET=$(suno-worker secret)"),
)
def secret() -> None:
    """Print a new secret for WORKER_WEBHOOK_SECRET.

    Put a new secret before the old one, separated by a comma, restart all workers, switch the receivers, and
    then remove the old one.
    """
    click.echo(new_secret(secrets.token_bytes(SECRET_BYTES)))


def readable(value: str | None) -> str:
    """Return a value as a table shows it: quoted where it is empty or ends in a space."""
    if value is None:
        return "not set"
    return value if value and value == value.strip() else f"'{value}'"
