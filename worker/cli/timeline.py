"""One Suno task's life in the order in which it happened, as `show` tells it to a person.

Put under watch, each transition, each attempt, and last what comes next. What an attempt sent and where its
time went stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from worker.cli.terminal import Section, at, one_line
from worker.db.history import AttemptMade, Change, History

COLUMNS = ("at", "after", "what", "details")
SHOWN_DETAIL = 200  # characters of the answer; `--json` gives all that was kept
SHOWN_HASH = 12  # hexadecimal digits: enough to see whether two attempts sent the same
MINUTE = 60
HOUR = 60 * MINUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One line of the timeline."""

    at: datetime
    what: str
    details: str = ""


def timeline(history: History) -> Section:
    """Return the events of a Suno task, the first one first; `after` counts from its enqueue."""
    events = sorted(_events(history), key=lambda one: one.at)  # stable: of one moment, in the order of causes
    rows = [
        (at(one.at), after(one.at - history.enqueued_at), one.what, one.details)
        for one in [*events, *_to_come(history)]
    ]
    return Section(title="Timeline", columns=COLUMNS, rows=rows)


def after(length: timedelta) -> str:
    """Return a length as people read it: `+9 s`, `+2 min 05 s`, `+3 h 20 min`."""
    seconds = max(int(length.total_seconds()), 0)
    if seconds < MINUTE:
        return f"+{seconds} s"
    if seconds < HOUR:
        return f"+{seconds // MINUTE} min {seconds % MINUTE:02} s"
    return f"+{seconds // HOUR} h {seconds % HOUR // MINUTE:02} min"


def attempt_json(one: AttemptMade) -> dict[str, Any]:
    """Return an attempt for machines, complete."""
    return {
        "number": one.number,
        "at": one.at,
        "trigger": one.trigger,
        "status_code": one.status_code,
        "error": one.error,
        "detail": one.detail,
        "duration_ms": one.duration_ms,
        "dns_ms": one.dns_ms,
        "connect_ms": one.connect_ms,
        "first_byte_ms": one.first_byte_ms,
        "remote_address": one.remote_address,
        "request_bytes": one.request_bytes,
        "request_sha256": one.request_sha256,
        "next_attempt_at": one.next_attempt_at,
    }


def _events(history: History) -> Iterator[Event]:
    """Yield what happened: causes before what follows from them."""
    yield Event(at=history.enqueued_at, what="enqueued", details=history.notify_hook or "only watched")
    yield from (Event(at=one.at, what=_change(one)) for one in history.transitions)
    for delivery in history.deliveries:
        yield from (_attempt(one) for one in delivery.attempts)


def _to_come(history: History) -> Iterator[Event]:
    """Yield what is due next; the lines below say what else it may wait for."""
    if history.next_poll_at is not None:
        yield Event(at=history.next_poll_at, what="next poll")
    for one in history.deliveries:
        if one.next_attempt_at is not None:
            yield Event(at=one.next_attempt_at, what=f"attempt {one.attempt_count + 1} is due")


def _change(one: Change) -> str:
    return one.to_status if one.from_status is None else f"{one.from_status} → {one.to_status}"


def _attempt(one: AttemptMade) -> Event:
    details = [
        _took(one),
        f"to {one.remote_address}" if one.remote_address else "",
        f"{one.request_bytes} B, sha256 {one.request_sha256[:SHOWN_HASH]}",
        "" if one.trigger == "schedule" else f"by {one.trigger}",
        f"next {at(one.next_attempt_at)}" if one.next_attempt_at else "",
        one_line(one.detail, limit=SHOWN_DETAIL) if one.detail else "",
    ]
    return Event(
        at=one.at,
        what=f"attempt {one.number}: {one.status_code or one.error}",
        details="; ".join(filter(None, details)),
    )


def _took(one: AttemptMade) -> str:
    """Return the whole time and those phases that there were."""
    phases = [("dns", one.dns_ms), ("connect", one.connect_ms), ("first byte", one.first_byte_ms)]
    known = ", ".join(f"{name} {ms}" for name, ms in phases if ms is not None)
    return f"{one.duration_ms} ms ({known})" if known else f"{one.duration_ms} ms"
