"""The command line `suno-worker`: one verb for each thing that a person or a script does.

A verb's module is imported only when the verb is called, so `--help` is quick and a verb whose extra is not
installed fails alone. Exit codes: 0 done; 1 failed, with one line on stderr that says why and what to do;
2 wrong usage. What is expected to go wrong is explained in `worker.cli.failures`, for all verbs at once; any
other exception is a mistake of ours and keeps its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from io import TextIOWrapper
from types import MappingProxyType
from typing import Any

import click

import worker

# verb: (where its command is, its line in `--help`), in the order in which a newcomer meets them.
VERBS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "up": ("worker.cli.up:up", "Start worker and Beat together, migrating first."),
        "demo": ("worker.cli.demo:demo", "Show the whole way of a few Suno tasks on this machine."),
        "enqueue": ("worker.cli.intake:enqueue", "Put Suno tasks under watch."),
        "status": ("worker.cli.status:status", "Count Suno tasks and deliveries, and show the gateways."),
        "show": ("worker.cli.inspection:show", "Show everything known of one Suno task."),
        "resend": (
            "worker.cli.intake:resend",
            "Send a finished task's result again, or correct its notify_hook.",
        ),
        "recover": ("worker.cli.recovery:recover", "Send again what was given up in a stretch of time."),
        "origins": ("worker.cli.origins:origins", "List the receiving hosts: limit, breaker, what waits."),
        "rejections": ("worker.cli.inspection:rejections", "List requests that were refused."),
        "dead-letters": (
            "worker.cli.messages:dead_letters",
            "List malformed messages that were moved aside.",
        ),
        "exporter": ("worker.cli.exporter:exporter", "Serve metrics for Prometheus."),
        "check": ("worker.cli.checks:check", "Check settings, database, broker and gateways."),
        "migrate": ("worker.cli.operations:migrate", "Bring the database to this version's tables."),
        "prune": ("worker.cli.pruning:prune", "Delete now what is past its retention."),
        "settings": (
            "worker.cli.configuration:settings",
            "Show every setting with its source, secrets masked.",
        ),
        "secret": ("worker.cli.configuration:secret", "Print a new webhook secret."),
        "sandbox": ("worker.cli.sandbox:sandbox", "Run a simulated gateway or a verifying receiver."),
    }
)


class Verbs(click.Group):
    """A group that imports a verb when it is called, and explains what is expected to go wrong."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, in the order of VERBS."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb; None when there is no such verb."""
        del ctx
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name][0].partition(":")
        try:
            command = getattr(import_module(module), name)
        except ImportError as error:
            raise click.ClickException(
                f"`{cmd_name}` cannot be loaded ({error}): pip install 'suno-worker[sandbox,flower]'"
            ) from error
        assert isinstance(command, click.Command)  # noqa: S101 - narrows the type; VERBS is ours
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing them."""
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's own signature
        """Run the verb; an expected failure becomes one line and exit code 1."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # a terminal that lacks a character gets its escape
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            from worker.cli.failures import explain

            why = explain(error)
            if why is None:
                raise
            raise click.ClickException(why) from error


EPILOG = """\b
First steps:
  suno-worker demo                  see it work, with nothing configured
  suno-worker up                    start it
  suno-worker enqueue TASK_ID --action MUSIC --notify-hook https://example.com/hook
  suno-worker show TASK_ID

Exit codes: 0 done, 1 failed (stderr says why and what to do), 2 wrong usage."""


@click.group(cls=Verbs, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(worker.__version__, prog_name="suno-worker")
def main() -> None:
    """Watch Suno tasks at their gateway and POST each finished result to its notify_hook.

    Everything is configured by environment variables that begin with WORKER_; `suno-worker settings` lists
    them.
    """
