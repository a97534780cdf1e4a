"""The verb `origins`: the hosts that receive webhooks, those in trouble first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from worker.cli.connections import open_database
from worker.cli.terminal import JSON, at, examples, print_json, print_table
from worker.core.origins import Breaker, capacity
from worker.db.clock import read_now
from worker.db.origin_overview import Receiver, count_origins, read_receivers
from worker.db.session import reading
from worker.settings import load_settings

COLUMNS = (
    "origin",
    "limit",
    "in force",
    "in flight",
    "breaker",
    "failures in a row",
    "pending deliveries",
    "next look",
)


@click.command(epilog=examples("suno-worker origins", "suno-worker origins --limit 1 --json"))
@click.option(
    "--limit", type=click.IntRange(min=1, max=1000), default=100, show_default=True, help="How many at most."
)
@JSON
def origins(limit: int, as_json: bool) -> None:
    """List the hosts that receive webhooks (scheme, host and port), those in trouble first.

    The limit of POSTs at once adapts to what a host can take; in force is what it may have at this moment:
    none while its breaker is open, one while it is probing, and never more than
    WORKER_WEBHOOK_ORIGIN_CONCURRENCY.
    """
    settings = load_settings()
    most = settings.webhook_origin_concurrency
    with open_database(settings) as sessions, reading(sessions) as session:
        now = read_now(session)
        receivers = read_receivers(session, limit=limit, now=now)
        total = count_origins(session)
    if as_json:
        print_json([receiver_json(one, most=most, now=now) for one in receivers])
        return
    title = "Origins" if total <= len(receivers) else f"Origins ({len(receivers)} of {total}: see --limit)"
    rows = [receiver_row(one, most=most, now=now) for one in receivers]
    print_table(title=title, columns=COLUMNS, rows=rows)


def receiver_json(one: Receiver, *, most: int, now: datetime) -> dict[str, Any]:
    """Return the keys of one element of `origins --json`."""
    return {
        "origin": one.origin,
        "limit": one.health.concurrency,
        "limit_in_force": capacity(one.health, most=most, now=now),
        "in_flight": one.in_flight,
        "breaker": one.breaker,
        "open_until": one.health.open_until,
        "openings": one.health.openings,
        "failures": one.health.failures,
        "pending": one.pending,
        "next_claim_at": one.next_claim_at,
        "last_used_at": one.last_used_at,
    }


def receiver_row(one: Receiver, *, most: int, now: datetime) -> tuple[object, ...]:
    """Return the same for a person."""
    is_open = one.breaker is Breaker.OPEN
    return (
        one.origin,
        one.health.concurrency,
        capacity(one.health, most=most, now=now),
        one.in_flight,
        f"open until {at(one.health.open_until)}" if is_open else one.breaker,
        one.health.failures,
        one.pending,
        at(one.next_claim_at),
    )
