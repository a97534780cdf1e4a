"""The looks of `check`: at the database, the broker and each gateway. They change nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import assert_never

from sqlalchemy import Engine

from worker.advice import advice
from worker.cli.connections import MIGRATE, database_place, open_broker, open_database
from worker.clients.gateway import GatewayClient, GatewayTarget
from worker.core.lifecycle import Action
from worker.core.wire import Bad, Good, Reply
from worker.db.clock import read_now
from worker.db.overview import read_overview
from worker.db.revisions import pending, unknown
from worker.db.session import Sessions, reading
from worker.dead_letters import misrouted_count
from worker.runtime import target_of
from worker.settings import Settings
from worker.settings.gateway import Gateway

# A gateway answers a question about one id in well under a second; `check` waits no longer than this.
GATEWAY_DEADLINE = timedelta(seconds=10)
UNKNOWN_ID = "suno-worker-check"

MOST_CLOCK_OFFSET = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of `check`."""

    line: str
    is_ok: bool
    text: str


def database_findings(settings: Settings) -> list[Finding]:
    """Look whether the database answers, has this version's tables, and agrees about the time."""
    with open_database(settings) as sessions:
        engine: Engine = sessions.kw["bind"]
        missing, newer = pending(engine), unknown(engine)
        with reading(sessions) as session:
            before = datetime.now(UTC)
            theirs = read_now(session)
            ours = before + (datetime.now(UTC) - before) / 2
        findings = [
            Finding(line="database", is_ok=True, text=database_place(settings)),
            _migrations(missing=missing, newer=newer),
            _clock(offset=ours - theirs, is_shared=engine.dialect.name != "sqlite"),
        ]
        return findings if missing or newer else [*findings, *_waiting(sessions, settings=settings)]


def broker_findings(settings: Settings) -> list[Finding]:
    """Look whether the broker answers, and for messages in the list that nobody reads."""
    with open_broker(settings) as client:
        start = monotonic()
        client.ping()
        took_ms = (monotonic() - start) * 1000
        misrouted = misrouted_count(client)
    text = "none was sent to the list `celery`, which nobody reads"
    if misrouted:
        text = (
            f"{misrouted} for suno.* lie in the list `celery`, which nobody reads: "
            'their sender must pass queue="enqueue", and send them again'
        )
    return [
        Finding(line="broker", is_ok=True, text=f"answers in {took_ms:.0f} ms"),
        Finding(line="messages", is_ok=not misrouted, text=text),
    ]


def gateway_findings(gateway: Gateway) -> list[Finding]:
    """Ask the gateway about an id that it does not know; a good answer names nothing."""
    target = replace(target_of(gateway), timeout=min(gateway.timeout, GATEWAY_DEADLINE))
    line = f"gateway {gateway.name}"
    match asyncio.run(_ask(target)):
        case Good():
            return [Finding(line=line, is_ok=True, text=f"answers ({gateway.fetch})")]
        case Bad() as bad:
            what_to_do = advice(bad.trouble, gateway=gateway.name)
            return [Finding(line=line, is_ok=False, text=f"{bad.message}: {what_to_do}")]
        case other:
            assert_never(other)


async def _ask(target: GatewayTarget) -> Reply:
    client = GatewayClient()
    try:
        fetch = client.fetch(target, action=Action.MUSIC, task_ids=[UNKNOWN_ID])
        ((_, reply),) = [answer async for answer in fetch]
    finally:
        await client.close()
    return reply


def _migrations(*, missing: list[str], newer: list[str]) -> Finding:
    text = "up to date"
    if newer:
        text = "the database was migrated by a newer version: install that one here"
    elif missing:
        text = f"{len(missing)} not applied: {MIGRATE}"
    return Finding(line="migrations", is_ok=not missing and not newer, text=text)


def _clock(*, offset: timedelta, is_shared: bool) -> Finding:
    if not is_shared:
        return Finding(line="clock", is_ok=True, text="the database's is this machine's")
    seconds = offset.total_seconds()
    text = f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'} the database's"
    is_ok = abs(offset) <= MOST_CLOCK_OFFSET
    return Finding(line="clock", is_ok=is_ok, text=text if is_ok else f"{text}: set this machine's by NTP")


def _waiting(sessions: Sessions, *, settings: Settings) -> list[Finding]:
    """Name the gateways that have pending Suno tasks and are not configured here."""
    with reading(sessions) as session:
        health = read_overview(session, now=read_now(session)).gateways
    return [
        Finding(
            line=f"gateway {one.name}",
            is_ok=False,
            text=f"is not configured, and {one.pending} Suno tasks wait for it: set "
            f"WORKER_GATEWAYS__{one.name.upper()}__BASE_URL and …__API_KEY",
        )
        for one in health
        if one.pending and one.name not in settings.gateways
    ]
