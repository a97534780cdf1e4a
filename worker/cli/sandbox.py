"""Verbs for development without an account: `sandbox gateway` and `sandbox receiver`.

Both serve on loopback until Ctrl-C or SIGTERM, print one line for each request, and say at their start which
variables make a worker use them.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from aiohttp import web

from worker.cli.listening import HOST, port_option
from worker.cli.scenario import announce, chosen_scenario
from worker.cli.terminal import examples, one_line, printable
from worker.core.signature import new_secret
from worker.sandbox.faults import FaultKind
from worker.sandbox.front_desk import SeenRequest
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import serving
from worker.sandbox.receiver import SandboxReceiver, Webhook
from worker.sandbox.sources import variables
from worker.sandbox.verification import ExtraMissing, make_verifier
from worker.settings.values import read_secrets

GATEWAY_PORT = 8100
RECEIVER_PORT = 8200
ENTROPY_BYTES = 32
SECRET_VARIABLE = "WORKER_WEBHOOK_SECRET"  # noqa: S105 - its name


GATEWAY_EXAMPLES = examples(
    "suno-worker sandbox gateway --seconds 3",
    "suno-worker sandbox gateway --scenario examples/scenarios/outage.toml",
    """curl -d '{"prompt": "rain"}' http://127.0.0.1:8100/openai-hub/suno/submit/MUSIC""",
    """curl -d '{"kind": "status", "status_code": 502, "requests": 3}' http://127.0.0.1:8100/sandbox/faults""",
)
RECEIVER_EXAMPLES = examples(
    "suno-worker sandbox receiver",
    "suno-worker sandbox receiver --answer 503 --times 2",
    "curl http://127.0.0.1:8200/received",
)


@click.group(epilog=examples("suno-worker sandbox gateway", "suno-worker sandbox receiver"))
def sandbox() -> None:
    """Run a simulated gateway or a verifying receiver on this machine, until Ctrl-C.

    Both print the variables that make a worker use them.
    """


@sandbox.command(epilog=GATEWAY_EXAMPLES)
@HOST
@port_option(GATEWAY_PORT)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=6.0,
    show_default=True,
    help="How long music takes; lyrics take a third.",
)
@click.option("--api-key", help="Ask for this key; without it every key is good.")
@click.option(
    "--scenario",
    "scenario_file",
    type=click.Path(path_type=Path),
    help="Play the faults of this file (TOML or JSON; examples/scenarios has one for each).",
)
def gateway(*, host: str, port: int, seconds: float, api_key: str | None, scenario_file: Path | None) -> None:
    """Simulate a gateway: submit, batch and single fetch, switchable faults."""
    scenario = None if scenario_file is None else chosen_scenario(scenario_file)
    simulated = SandboxGateway(
        clock=_clock, api_key=api_key, lasts=timedelta(seconds=seconds), say=_say_request
    )

    def greet(url: str) -> None:
        click.echo(f"Simulated gateway at {url}; a worker uses it with:\n")
        for name, value in variables(url=url, api_key=api_key or "any").items():
            click.echo(f"  export {name}={value}")
        click.echo(f"\nLook: {url}/sandbox/tasks {url}/sandbox/requests  Faults: {', '.join(FaultKind)}\n")
        if scenario is not None:
            announce(scenario)
            for fault in scenario.faults:
                simulated.faults.switch_on(fault)  # their seconds count from now

    _serve(simulated.app(), host=host, port=port, greet=greet)


@sandbox.command(epilog=RECEIVER_EXAMPLES)
@HOST
@port_option(RECEIVER_PORT)
@click.option("--answer", type=click.IntRange(200, 599), help="Answer with this status instead of 200 …")
@click.option("--times", type=click.IntRange(min=1), default=1, show_default=True, help="… so many times.")
def receiver(*, host: str, port: int, answer: int | None, times: int) -> None:
    """Receive webhooks: verify each signature, print one line for each, show all at /received.

    Signatures are verified with WORKER_WEBHOOK_SECRET, as the worker makes them; without it a new secret is
    printed.
    """
    chosen = _known_secrets()
    whsec = chosen or (new_secret(secrets.token_bytes(ENTROPY_BYTES)),)
    try:
        listening = SandboxReceiver(clock=_clock, verify=make_verifier(whsec), say=_say_webhook)
    except ExtraMissing as error:
        raise click.ClickException(str(error)) from error
    if answer is not None:
        listening.answer_with(answer, times=times)

    def greet(url: str) -> None:
        click.echo(f"Receiver at {url}; a worker may send to it with:\n")
        if not chosen:
            click.echo(f"  export {SECRET_VARIABLE}={whsec[0]}")
        click.echo(f"  export WORKER_WEBHOOK_ALLOW={host}")
        click.echo(f"\nUse {url}/hook as notify_hook. What came: {url}/received\n")

    _serve(listening.app(), host=host, port=port, greet=greet)


def _known_secrets() -> tuple[str, ...]:
    """Return those of the environment; on the command line, every user of the machine could read them."""
    try:
        known = read_secrets(os.environ.get(SECRET_VARIABLE, ""))
    except ValueError as error:
        raise click.UsageError(f"{SECRET_VARIABLE}: {error}") from error
    return tuple(one.get_secret_value() for one in known)


def _serve(app: web.Application, *, host: str, port: int, greet: Callable[[str], None]) -> None:
    """Serve until a signal; a port that cannot be had is one line."""

    async def serve() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        async with serving(app, host=host, port=port) as url:
            greet(url)
            await stop.wait()

    try:
        asyncio.run(serve())
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise click.ClickException(
            f"port {port} is in use: choose another with --port, or 0 for a free one"
        ) from error


def _clock() -> datetime:
    return datetime.now(UTC)


def _say_request(seen: SeenRequest) -> None:
    answered = "no answer" if seen.status_code is None else str(seen.status_code)
    fault = f" ({seen.fault})" if seen.fault else ""
    asked = (
        f" {len(seen.task_ids)} ids {seen.action}".rstrip() if seen.method == "POST" and seen.task_ids else ""
    )
    click.echo(
        f"{seen.at:%H:%M:%S} {seen.method} {one_line(seen.path)}{printable(asked)} → {answered}{fault}"
    )


def _say_webhook(webhook: Webhook) -> None:
    task = " ".join(one_line(part) for part in (webhook.action, webhook.task_id, webhook.status))
    attempt = one_line(webhook.headers.get("webhook-attempt", "?"))
    verdict = click.style("verified", fg="green")
    if not webhook.verified:
        verdict = click.style(f"NOT VERIFIED: {one_line(webhook.problem)}", fg="red")
    size = f"{len(webhook.body)} bytes"
    repeated = ", repeated" if webhook.repeated else ""
    place = one_line(webhook.path)
    click.echo(f"{webhook.at:%H:%M:%S} {task} → {place}, attempt {attempt}, {size}, {verdict}{repeated}")
