"""Names for new rows that outlive this database."""

from __future__ import annotations

import secrets
from datetime import datetime


def new_delivery_id(*, now: datetime) -> str:
    """Return an id for a delivery: `msg_`, 12 hex digits of milliseconds, 20 random ones.

    Receivers remember it to tell a retry from a new result, so it must not repeat when a database is made
    anew; it begins with the time, so that an index on it grows at one end. It has no dots, as Standard
    Webhooks asks.
    """
    return f"msg_{int(now.timestamp() * 1000):012x}{secrets.token_hex(10)}"
