"""A ring expires only while others wait behind it in its queue.

A message that expires does so by the clock of whoever sent it. Were a worker's clock ahead of Beat's by more
than the 10 s of a ring, it would throw every ring away and never wake. Others behind it are what a backlog
looks like; the last one always rings, whatever the clocks say.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

from celery.utils.time import maybe_iso8601
from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import Message

RINGS = frozenset({"suno.poll", "suno.deliver", "suno.prune"})


def take_ring(strategy: Callable[..., None], message: Message, *arguments: Any) -> None:  # noqa: ANN401  # Celery's own
    """Hand a ring on to Celery's strategy; it may expire only while others wait behind it."""
    if not (_has_expired(message.headers.get("expires")) and _has_successor(message)):
        message.headers.pop("expires", None)
    strategy(message, *arguments)


def _has_expired(expires: str | None) -> bool:
    """Ask the clock of this machine."""
    at = maybe_iso8601(expires)
    return at is not None and (at if at.tzinfo else at.replace(tzinfo=UTC)) <= datetime.now(UTC)


def _has_successor(message: Message) -> bool:
    with cast("kombu_redis.Channel", message.channel).conn_or_acquire() as client:
        return bool(client.llen(message.delivery_info["routing_key"]))
