"""The attempt log as `show` tells it: what was sent where, what came of it, how long each phase took."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.cli.terminal import Section, at, one_line
from worker.db.history import AttemptMade

COLUMNS = ("number", "at", "why", "answer", "took", "address", "sent", "next attempt", "detail")
SHOWN_DETAIL = 200  # characters of the answer; `--json` gives all that was kept
SHOWN_HASH = 12  # hexadecimal digits: enough to see whether two attempts sent the same


def timeline(attempts: Sequence[AttemptMade]) -> Section:
    """Return the attempts for a person, the first one first."""
    rows = [
        (
            one.number,
            at(one.at),
            one.trigger,
            one.status_code or one.error,
            _took(one),
            one.remote_address or "-",
            f"{one.request_bytes} B, sha256 {one.request_sha256[:SHOWN_HASH]}",
            at(one.next_attempt_at),
            one_line(one.detail or "-", limit=SHOWN_DETAIL),
        )
        for one in sorted(attempts, key=lambda one: one.at)
    ]
    return Section(title="Attempts", columns=COLUMNS, rows=rows)


def attempt_json(one: AttemptMade) -> dict[str, Any]:
    """Return the same for machines, complete."""
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


def _took(one: AttemptMade) -> str:
    """Return the whole time and those phases that there were."""
    phases = [("dns", one.dns_ms), ("connect", one.connect_ms), ("first byte", one.first_byte_ms)]
    known = ", ".join(f"{name} {ms}" for name, ms in phases if ms is not None)
    return f"{one.duration_ms} ms ({known})" if known else f"{one.duration_ms} ms"
