"""The verb `check`: one line for each part that this installation needs, with what to do when it fails.

The parts are looked at side by side, each with its own deadline, and together they take 20 s at most: a check
that hangs where the worker hangs would be no help.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from time import monotonic

import click

from worker.cli.failures import explain
from worker.cli.probes import Finding, broker_findings, database_findings, gateway_findings
from worker.cli.terminal import JSON, examples, print_json, printable
from worker.settings import Settings, SettingsError, load_settings

DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A look at one part: the lines that it owes, and how to get them."""

    lines: Sequence[str]
    look: Callable[[], list[Finding]]


@click.command(
    epilog=examples("suno-worker check", "suno-worker check --json | jq '.[] | select(.ok | not)'")
)
@JSON
def check(*, as_json: bool) -> None:
    """Check settings, database, migrations, clock, broker and gateways: one line each.

    It changes nothing. Each gateway is asked once about an id that it does not know. The exit code is 1 if
    any line says FAIL; the line says what to do.
    """
    findings = []
    for finding in _findings():
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        print_json([{"check": one.line, "ok": one.is_ok, "text": one.text} for one in findings])
    failed = sum(not finding.is_ok for finding in findings)
    if failed:
        raise click.ClickException(f"{failed} of {len(findings)} checks failed; their lines say what to do")


def _show(finding: Finding) -> None:
    """Print a line as soon as it is known."""
    word = click.style("OK  " if finding.is_ok else "FAIL", fg="green" if finding.is_ok else "red")
    click.echo(f"{word} {printable(finding.line):<20} {printable(finding.text)}")
    sys.stdout.flush()


def _findings() -> Iterator[Finding]:
    try:
        settings = load_settings()
    except SettingsError as error:
        yield from (Finding(line="settings", is_ok=False, text=line) for line in str(error).splitlines())
        return
    yield _settings_finding(settings)
    probes = [
        Probe(lines=("database", "migrations", "clock"), look=partial(database_findings, settings)),
        Probe(lines=("broker", "messages"), look=partial(broker_findings, settings)),
        *(
            Probe(lines=(f"gateway {name}",), look=lambda one=gateway: gateway_findings(one))  # type: ignore[misc]
            for name, gateway in sorted(settings.gateways.items())
        ),
    ]
    end = monotonic() + DEADLINE_S
    started = [(probe, _start(probe)) for probe in probes]
    for probe, future in started:
        yield from _finish(probe, future=future, within_s=max(end - monotonic(), 0))


def _settings_finding(settings: Settings) -> Finding:
    if not settings.gateways:
        text = "no gateway is configured: set WORKER_GATEWAYS__<NAME>__BASE_URL and …__API_KEY"
        return Finding(line="settings", is_ok=False, text=text)
    unsigned = "unsigned (WORKER_WEBHOOK_SECRET is not set; `suno-worker secret` prints one)"
    signed = "signed" if settings.webhook_secret else unsigned
    number = len(settings.gateways)
    text = f"{number} gateway{'s' if number > 1 else ''}, webhooks {signed}"
    return Finding(line="settings", is_ok=True, text=text)


def _start(probe: Probe) -> Future[list[Finding]]:
    """Look in a thread that ends with the process, so that one that hangs keeps nothing alive."""
    future: Future[list[Finding]] = Future()

    def run() -> None:
        try:
            future.set_result(probe.look())
        except BaseException as error:  # noqa: BLE001 - handed over to the one who waits
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _finish(probe: Probe, *, future: Future[list[Finding]], within_s: float) -> Iterator[Finding]:
    """Yield what the probe found; a line that it still owes after a failure is a failed one too."""
    try:
        findings = future.result(timeout=within_s)
    except TimeoutError:
        findings = [Finding(line=probe.lines[0], is_ok=False, text=f"no answer within {DEADLINE_S:g} s")]
    except click.ClickException as error:
        findings = [Finding(line=probe.lines[0], is_ok=False, text=error.format_message())]
    except Exception as error:
        why = explain(error)
        if why is None:
            raise
        findings = [Finding(line=probe.lines[0], is_ok=False, text=why)]
    yield from findings
    for line in probe.lines[len(findings) :]:
        yield Finding(line=line, is_ok=False, text=f"cannot be checked before {probe.lines[0]} is right")
