"""The broker's list of messages that no task could take: kept, shown, and put back on request.

`suno.dead-letters` is a Redis list on the broker, newest first, of JSON objects: `id`, `at`, `queue`,
`reason`, `message` (the text as it lay in the queue) and `is_cut`. It holds 1,000 entries at most: each new
one pushes the oldest out. It is a place to look at mistakes, not an archive, so a message is kept up to
64 KiB; a longer one is cut, says so, and cannot be put back.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import redis

KEY = "suno.dead-letters"
MOST = 1_000
LONGEST_MESSAGE = 64 * 1024  # bytes

# The list that a Celery client without `queue=` writes to. No worker of ours reads it.
UNREAD_QUEUE = "celery"
MOST_UNREAD = 1_000


class NotRequeued(Exception):
    """A dead letter stays where it is; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message that was moved aside. `message` is what was found, byte for byte unless `is_cut`."""

    id: str
    at: datetime
    queue: str
    reason: str  # one printable line
    message: bytes
    is_cut: bool


def connect(url: str) -> redis.Redis:
    """Return a client of the broker; connects to nothing yet. Its timeouts are those of the worker."""
    return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=3, client_name="suno-worker")


def add(client: redis.Redis, *, queue: str, reason: str, message: bytes, now: datetime) -> DeadLetter:
    """Push one dead letter and cut the list to its newest 1,000."""
    letter = DeadLetter(
        id=uuid.uuid4().hex,
        at=now,
        queue=queue,
        reason=reason,
        message=message[:LONGEST_MESSAGE],
        is_cut=len(message) > LONGEST_MESSAGE,
    )
    with client.pipeline() as pipe:
        pipe.lpush(KEY, _encode(letter))
        pipe.ltrim(KEY, 0, MOST - 1)
        pipe.execute()
    return letter


def count(client: redis.Redis) -> int:
    """Return how many dead letters there are."""
    return int(client.llen(KEY))


def list_dead_letters(client: redis.Redis) -> list[DeadLetter]:
    """Return all dead letters, newest first; an entry that somebody else wrote there is left out."""
    return [letter for _, letter in _entries(client)]


def requeue(client: redis.Redis, *, letter_id: str) -> DeadLetter:
    """Put a dead letter back into its queue, unchanged, and take it off the list, both or neither.

    Raises `NotRequeued` when there is none of that id or its message was cut.
    """
    with client.pipeline() as pipe:
        while True:
            pipe.watch(KEY)  # type: ignore[no-untyped-call]  # redis-py left it untyped
            raw, letter = _find(pipe, letter_id=letter_id)
            pipe.multi()
            pipe.lrem(KEY, 1, raw.decode())
            pipe.lpush(letter.queue, letter.message)
            try:
                pipe.execute()
            except redis.WatchError:  # the list changed since we looked
                continue
            return letter


def misrouted_count(client: redis.Redis) -> int:
    """Count the `suno.*` messages among the newest 1,000 of the list `celery`, which nobody reads.

    A sender that leaves out `queue="enqueue"` writes there.
    """
    return sum(_names_suno_task(item) for item in client.lrange(UNREAD_QUEUE, 0, MOST_UNREAD - 1))


def _names_suno_task(item: bytes | str) -> bool:
    try:
        name = json.loads(item)["headers"]["task"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return isinstance(name, str) and name.startswith("suno.")


def _find(client: redis.Redis, *, letter_id: str) -> tuple[bytes, DeadLetter]:
    for raw, letter in _entries(client):
        if letter.id == letter_id and letter.is_cut:
            raise NotRequeued(f"dead letter {letter_id} was cut to {LONGEST_MESSAGE} bytes: send it again")
        if letter.id == letter_id:
            return raw, letter
    raise NotRequeued(f"there is no dead letter {letter_id!r}: `suno-worker dead-letters` lists them")


def _entries(client: redis.Redis) -> list[tuple[bytes, DeadLetter]]:
    # Our clients decode nothing, so every item is bytes.
    raws = cast("list[bytes]", client.lrange(KEY, 0, MOST - 1))
    entries = [(raw, _decode(raw)) for raw in raws]
    return [(raw, letter) for raw, letter in entries if letter is not None]


# `surrogateescape` carries bytes that are not UTF-8 through JSON and back unchanged.


def _encode(letter: DeadLetter) -> str:
    return json.dumps(
        {
            "id": letter.id,
            "at": letter.at.isoformat(),
            "queue": letter.queue,
            "reason": letter.reason,
            "message": letter.message.decode(errors="surrogateescape"),
            "is_cut": letter.is_cut,
        }
    )


def _decode(raw: bytes) -> DeadLetter | None:
    try:
        entry = json.loads(raw)
        return DeadLetter(
            id=str(entry["id"]),
            at=datetime.fromisoformat(entry["at"]),
            queue=str(entry["queue"]),
            reason=str(entry["reason"]),
            message=str(entry["message"]).encode(errors="surrogateescape"),
            is_cut=bool(entry["is_cut"]),
        )
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
