"""The verb `status`: how much is where, and who is in trouble."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any

import click
from redis import RedisError
from rich.console import Group
from rich.live import Live
from rich.text import Text
from sqlalchemy.exc import DBAPIError

from worker import dead_letters
from worker.advice import advice
from worker.cli.connections import open_broker, open_database
from worker.cli.failures import explain_database
from worker.cli.terminal import JSON, Section, at, beside, drawn, examples, print_json, print_sections
from worker.cli.watching import RECEIVERS_SHOWN, Watch, receivers_section
from worker.core.wire import Trouble
from worker.db.clock import read_now
from worker.db.origin_overview import read_receivers
from worker.db.overview import GatewayHealth, Overview, read_overview
from worker.db.session import Sessions, reading
from worker.settings import Settings, load_settings

REFRESH_S = 2.0


@click.command(
    epilog=examples(
        "suno-worker status",
        "suno-worker status --watch",
        "suno-worker status --json | jq .oldest_due_delivery_s",
    )
)
@JSON
@click.option("--watch", is_flag=True, help="Show it again every 2 s until Ctrl-C.")
def status(as_json: bool, watch: bool) -> None:
    """Count Suno tasks and deliveries, say how late the oldest due ones are, and show the gateways.

    A receiver counts as behind a breaker while its breaker is open, or probes and deliveries wait for it.
    `dead_letters` is null when the broker does not answer. With `--json --watch`, one line every 2 s.
    """
    settings = load_settings()
    with open_database(settings) as sessions:
        if not watch:
            _print(*_look(sessions, settings=settings), settings=settings, as_json=as_json)
            return
        try:
            _watch(sessions, settings=settings, as_json=as_json)
        except KeyboardInterrupt:
            return


def _watch(sessions: Sessions, *, settings: Settings, as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        while True:
            _print(*_look(sessions, settings=settings), settings=settings, as_json=as_json)
            time.sleep(REFRESH_S)
    watch = Watch()
    first = watched(sessions, settings=settings, watch=watch)  # what is wrong from the start ends it here
    with Live(first, auto_refresh=False, screen=True) as live:
        live.refresh()
        while True:
            time.sleep(REFRESH_S)
            live.update(watched_still(sessions, settings=settings, watch=watch), refresh=True)


def watched_still(sessions: Sessions, *, settings: Settings, watch: Watch) -> Group:
    """Return one more look; of a database that has gone away, what is wrong with it."""
    try:
        return watched(sessions, settings=settings, watch=watch)
    except DBAPIError as error:
        why = Text(f"{explain_database(error)}; looking again every {REFRESH_S:g} s", style="bold red")
        return Group(why)


def watched(sessions: Sessions, *, settings: Settings, watch: Watch) -> Group:
    """Return one look with the rates so far and the receivers that need an eye."""
    overview, letters = _look(sessions, settings=settings)
    with reading(sessions) as session:
        now = read_now(session)
        receivers = read_receivers(session, limit=RECEIVERS_SHOWN, now=now)
    tasks, deliveries, gateways, work = overview_sections(overview, letters, settings=settings)
    numbers = beside([tasks, deliveries, watch.rates(overview, now=now)])
    return Group(numbers, drawn([work, gateways, receivers_section(receivers)]))


def _print(overview: Overview, letters: int | None, *, settings: Settings, as_json: bool) -> None:
    if as_json:
        print_json(overview_json(overview, letters, settings=settings))
    else:
        print_sections(overview_sections(overview, letters, settings=settings))


def _look(sessions: Sessions, *, settings: Settings) -> tuple[Overview, int | None]:
    with reading(sessions) as session:
        overview = read_overview(session, now=read_now(session))
    try:
        with open_broker(settings) as client:
            return overview, dead_letters.count(client)
    except (RedisError, OSError, click.ClickException):
        return overview, None


def overview_json(overview: Overview, letters: int | None, *, settings: Settings) -> dict[str, Any]:
    """Return the keys of `status --json`."""
    return {
        "tasks": overview.tasks,
        "deliveries": overview.deliveries,
        "oldest_due_poll_s": _seconds(overview.oldest_due_poll),
        "oldest_due_delivery_s": _seconds(overview.oldest_due_delivery),
        "gateways": [
            {"name": one.name, "cooling_until": one.cooling_until, "last_error": _trouble(one, settings)}
            for one in overview.gateways
        ],
        "origins_open": overview.origins_open,
        "rejections": overview.rejections,
        "dead_letters": letters,
    }


def overview_sections(overview: Overview, letters: int | None, *, settings: Settings) -> list[Section]:
    """Return the same for a person."""
    rest = [
        ("oldest due poll waits", f"{_seconds(overview.oldest_due_poll)} s"),
        ("oldest due delivery waits", f"{_seconds(overview.oldest_due_delivery)} s"),
        ("receivers behind a breaker", _breakers(overview.origins_open)),
        ("rejections", overview.rejections),
        ("dead letters", "unknown: no broker answers" if letters is None else letters),
    ]
    gateways = [
        (one.name, one.pending, at(one.cooling_until), _with_advice(one, settings) or "-")
        for one in overview.gateways
    ]
    refused = [one.name for one in overview.gateways if one.trouble is Trouble.UNAUTHORIZED]
    return [
        Section(title="Suno tasks", columns=("status", "number"), rows=list(overview.tasks.items())),
        Section(title="Deliveries", columns=("state", "number"), rows=list(overview.deliveries.items())),
        Section(
            title="Gateways",
            columns=("name", "pending", "cooling until", "last error"),
            rows=gateways,
            alarming=refused,
        ),
        Section(title="Work", columns=("", ""), rows=rest),
    ]


def _trouble(gateway: GatewayHealth, settings: Settings) -> str | None:
    """Return the gateway's last error; for one with work that is not configured, that it is not."""
    if gateway.pending and gateway.name not in settings.gateways:
        return f"not configured here: {gateway.pending} Suno tasks wait for it"
    return gateway.last_error


def _with_advice(gateway: GatewayHealth, settings: Settings) -> str | None:
    """Return the gateway's trouble and, for a person, what to do about it."""
    said = _trouble(gateway, settings)
    if gateway.trouble is None or gateway.name not in settings.gateways:
        return said
    return f"{said}; {advice(gateway.trouble, gateway=gateway.name)}"


def _breakers(number: int) -> str:
    return f"{number}: `suno-worker origins` names them" if number else "0"


def _seconds(lateness: timedelta) -> float:
    return round(lateness.total_seconds(), 3)
