"""Verbs that look at one Suno task or at what was refused, and change nothing: `show`, `rejections`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
import msgspec

from worker.cli.connections import open_database
from worker.cli.selection import GATEWAY, TASK_ID, choose_gateway
from worker.cli.terminal import (
    JSON,
    Section,
    at,
    examples,
    one_line,
    print_json,
    print_sections,
    print_table,
    printable,
)
from worker.cli.timeline import attempt_json, timeline
from worker.core.origins import Breaker
from worker.db.clock import read_now
from worker.db.history import DeliveryHistory, History, read_history
from worker.db.origin_overview import Wait, read_waits
from worker.db.overview import read_rejections
from worker.db.session import reading
from worker.settings import load_settings

SHOWN_DATA = 500  # characters; `--json` gives all
SHOWN_ARGUMENTS = 100


@click.command(
    epilog=examples(
        "suno-worker show 4a7ad9f2-8a8b-4d9c-9d4e-5a1f2c3b4d5e", "suno-worker show TASK_ID --json | jq .data"
    )
)
@TASK_ID
@GATEWAY
@JSON
def show(task_id: str, gateway: str | None, as_json: bool) -> None:
    """Show everything known of one Suno task, and its life as one timeline: transitions and every attempt.

    Times are UTC. `--json` has all of it, the gateway's own data whole.
    """
    with open_database(load_settings()) as sessions, reading(sessions) as session:
        chosen = choose_gateway(session, task_id=task_id, gateway=gateway)
        history = read_history(session, task_id=task_id, gateway=chosen)
        owed = [] if history is None else [one.id for one in history.deliveries]
        waits = read_waits(session, delivery_ids=owed, now=read_now(session))
    if history is None:
        raise click.ClickException(
            f"Suno task {printable(task_id)} was removed a moment ago: it was past WORKER_RETENTION"
        )
    if as_json:
        print_json(history_json(history, waits=waits))
    else:
        print_sections(history_sections(history, waits=waits))


@click.command(epilog=examples("suno-worker rejections", "suno-worker rejections --limit 1 --json"))
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="How many at most.")
@JSON
def rejections(limit: int, as_json: bool) -> None:
    """List requests to watch a task that were refused, the newest first.

    A sender that only sends a message may never learn that it was refused; here it can be seen.
    """
    with open_database(load_settings()) as sessions, reading(sessions) as session:
        refusals = read_rejections(session, limit=limit)
    if as_json:
        print_json(refusals)
    else:
        rows = [
            (at(one.at), one.source, one.reason, one_line(one.arguments, limit=SHOWN_ARGUMENTS))
            for one in refusals
        ]
        print_table(title="Rejections", columns=("at", "source", "reason", "arguments"), rows=rows)


def history_json(history: History, *, waits: Mapping[str, Wait]) -> dict[str, Any]:
    """Return the keys of `show --json`; `data` stays the gateway's own JSON."""
    return {
        "task_id": history.task_id,
        "gateway": history.gateway,
        "action": history.action,
        "status": history.status,
        "upstream_status": history.upstream_status,
        "progress": history.progress,
        "fail_reason": history.fail_reason,
        "notify_hook": history.notify_hook,
        "enqueued_at": history.enqueued_at,
        "finished_at": history.finished_at,
        "last_polled_at": history.last_polled_at,
        "next_poll_at": history.next_poll_at,
        "transitions": [
            {"from": one.from_status, "to": one.to_status, "at": one.at} for one in history.transitions
        ],
        "deliveries": [
            {
                "id": one.id,
                "state": one.state,
                "attempt_count": one.attempt_count,
                "next_attempt_at": one.next_attempt_at,
                "waits_behind": waits.get(one.id),
                "attempts": [attempt_json(attempt) for attempt in one.attempts],
            }
            for one in history.deliveries
        ],
        "data": None if history.data is None else msgspec.Raw(history.data.encode()),
    }


def history_sections(history: History, *, waits: Mapping[str, Wait]) -> list[Section]:
    """Return the same for a person."""
    facts = [
        ("gateway", history.gateway),
        ("action", history.action),
        ("status", history.status),
        ("gateway's own word", history.upstream_status or "-"),
        ("progress", f"{history.progress} %"),
        ("fail reason", history.fail_reason or "-"),
        ("notify_hook", history.notify_hook or "- (only watched)"),
        ("last polled", at(history.last_polled_at)),
        ("data", _excerpt(history.data)),
    ]
    deliveries = [
        (one.id, one.state, one.attempt_count, _why(one, waits.get(one.id))) for one in history.deliveries
    ]
    return [
        Section(title=f"Suno task {history.task_id}", columns=("", ""), rows=facts),
        timeline(history),
        Section(title="Deliveries", columns=("id", "state", "attempts", "why"), rows=deliveries),
    ]


def _why(delivery: DeliveryHistory, wait: Wait | None) -> str:
    """Return why it was given up, or what it waits for beside its own schedule."""
    if wait is None:
        return delivery.discard_reason or "-"
    if wait.breaker is Breaker.PROBING:
        return f"waits behind the breaker of {wait.origin} while one delivery at a time probes it"
    return f"waits behind the breaker of {wait.origin} until {at(wait.open_until)}"


def _excerpt(data: str | None) -> str:
    if data is None:
        return "-"
    if len(data) <= SHOWN_DATA:
        return data
    return f"{data[:SHOWN_DATA]}… ({len(data)} characters: --json shows all)"
