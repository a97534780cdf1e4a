"""What one POST leaves behind: the delivery's new values, an attempt row, and one line of log."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from worker.clients.exchange import Exchange
from worker.core.webhook import (
    Answered,
    Delivered,
    Discarded,
    Failed,
    Retry,
    Verdict,
    origin_of,
)
from worker.db.deliveries import Held, Lease, State

logger = logging.getLogger(__name__)


class Trigger(StrEnum):
    """Why an attempt was made."""

    SCHEDULE = "schedule"  # the first, and each retry when its time had come
    RESEND = "resend"
    RECOVER = "recover"


def seen(row: Held) -> dict[str, Any]:
    """Return the guard of a write: the state and the claim that were seen."""
    return {"state_seen": row.state.value, "claims_seen": row.claims}


def change_of(lease: Lease, *, row: Held, verdict: Verdict, now: datetime) -> dict[str, Any]:
    """Return the delivery's new values; each verdict always names the same columns."""
    change = seen(row) | {"row_id": lease.id, "attempt_count": row.attempt_count + 1, "leased_until": None}
    match verdict:
        case Delivered():
            end = {"delivered_at": now, "discarded_at": None, "discard_reason": None}
            return change | {"state": State.DELIVERED.value} | end
        case Retry(at=at):
            return change | {"next_attempt_at": at}
        case Discarded(reason=reason):
            return change | {"state": State.DISCARDED.value, "discarded_at": now, "discard_reason": reason}
        case _:
            assert_never(verdict)


def attempt_of(lease: Lease, exchange: Exchange, *, applied: Verdict | None) -> dict[str, Any]:
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
        "trigger": Trigger.SCHEDULE.value,
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
        "delivery=%s task_id=%s attempt=%d origin=%s answer=%s duration_ms=%d verdict=%s",
        lease.id,
        ascii(lease.result.task_id),
        lease.claims,
        origin_of(lease.result.notify_hook),
        answer.status_code if isinstance(answer, Answered) else answer.error.value,
        _ms(exchange.duration),
        "late" if verdict is None else type(verdict).__name__.lower(),
    )


def _ms(duration: timedelta | None) -> int | None:
    """Return a duration in whole milliseconds."""
    return None if duration is None else round(duration.total_seconds() * 1000)
