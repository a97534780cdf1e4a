"""What one POST leaves behind: the delivery's new values, an attempt row, and one line of log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_never

from worker.clients.exchange import Exchange
from worker.core.verdicts import Answered, Delivered, Discarded, Failed, Retry, Verdict
from worker.db.deliveries import Held, Lease, State, Trigger
from worker.told import told

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is written for one outcome. `applied` is None when it came too late to decide anything."""

    lease: Lease
    applied: Verdict | None
    change: dict[str, Any]
    attempt: dict[str, Any]


def enter(lease: Lease, exchange: Exchange, *, row: Held, verdict: Verdict, now: datetime) -> Entry:
    """Return what to write for an outcome, given the row as it is now.

    An outcome whose lease was taken over is late: its attempt is logged and counted, and it changes the
    delivery only if it was a 2xx, because then the receiver has the result, whoever asks.
    """
    on_time = row.state is State.PENDING and row.claims == lease.claims
    late_success = isinstance(verdict, Delivered) and row.state is not State.DELIVERED
    applied = verdict if on_time or late_success else None
    return Entry(
        lease=lease,
        applied=applied,
        change=_change(row, applied=applied, now=now),
        attempt=_attempt(lease, exchange, applied=applied),
    )


def _change(row: Held, *, applied: Verdict | None, now: datetime) -> dict[str, Any]:
    """Return the delivery's new values, guarded by the state and the claim that were seen."""
    change: dict[str, Any] = {
        "state_seen": row.state.value,
        "claims_seen": row.claims,
        "attempt_count": row.attempt_count + 1,
    }
    match applied:
        case Delivered():
            delivered = {"delivered_at": now, "discarded_at": None, "discard_reason": None}
            return change | {"state": State.DELIVERED.value, "leased_until": None} | delivered
        case Retry(at=at):
            retry = {"next_attempt_at": at, "trigger": Trigger.SCHEDULE.value}
            return change | {"leased_until": None} | retry
        case Discarded(reason=reason):
            discarded = {"discarded_at": now, "discard_reason": reason}
            return change | {"state": State.DISCARDED.value, "leased_until": None} | discarded
        case None:
            return change
        case _:
            assert_never(applied)


def _attempt(lease: Lease, exchange: Exchange, *, applied: Verdict | None) -> dict[str, Any]:
    """Return the attempt's row; `applied` is None when the outcome came too late to count."""
    match exchange.outcome:
        case Answered(status_code=status_code, excerpt=excerpt):
            outcome: dict[str, Any] = {"status_code": status_code, "error": None, "detail": excerpt}
        case Failed(error=error, detail=detail):
            outcome = {"status_code": None, "error": error.value, "detail": detail}
        case _:
            assert_never(exchange.outcome)
    return outcome | {
        "delivery_id": lease.id,
        "number": lease.claims,
        "at": lease.claimed_at,
        "trigger": lease.trigger.value,
        "duration_ms": _ms(exchange.duration),
        "dns_ms": _ms(exchange.dns),
        "connect_ms": _ms(exchange.connect),
        "first_byte_ms": _ms(exchange.first_byte),
        "remote_address": exchange.remote_address,
        "request_bytes": exchange.request_bytes,
        "request_sha256": exchange.request_sha256,
        "next_attempt_at": applied.at if isinstance(applied, Retry) else None,
    }


def log_attempt(lease: Lease, exchange: Exchange, verdict: Verdict | None) -> None:
    """Log the attempt in one line; the hook's path and query may hold a secret and stay out."""
    answer = exchange.outcome
    logger.info(
        told(
            "attempt",
            delivery=lease.id,
            task_id=lease.result.task_id,
            attempt=lease.claims,
            origin=lease.origin,
            answer=answer.status_code if isinstance(answer, Answered) else answer.error,
            duration_ms=_ms(exchange.duration),
            verdict="late" if verdict is None else type(verdict).__name__.lower(),
        )
    )


def _ms(duration: timedelta | None) -> int | None:
    """Return a duration in whole milliseconds."""
    return None if duration is None else round(duration.total_seconds() * 1000)
