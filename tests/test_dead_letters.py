from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import redis

from worker import dead_letters

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.fixture
def client(broker_url: str) -> Iterator[redis.Redis]:
    """Give a client of an empty broker."""
    with dead_letters.connect(broker_url) as client:
        yield client


def add(client: redis.Redis, *, message: bytes = b"hello", queue: str = "enqueue") -> dead_letters.DeadLetter:
    """Add a dead letter."""
    return dead_letters.add(client, queue=queue, reason="it is bad", message=message, now=NOW)


def test_a_dead_letter_keeps_all_facts(client: redis.Redis) -> None:
    """Each entry says when, from which queue and why, and holds the message byte for byte."""
    message = b'{"odd": "\xff\xfe \x00 \xe2\x82\xac"}'

    add(client, message=message)

    (letter,) = dead_letters.list_dead_letters(client)
    assert (letter.at, letter.queue, letter.reason, letter.message, letter.is_cut) == (
        NOW,
        "enqueue",
        "it is bad",
        message,
        False,
    )


def test_the_newest_thousand_are_kept(client: redis.Redis) -> None:
    """The 1,001st dead letter pushes the oldest out."""
    letters = [add(client, message=str(number).encode()) for number in range(dead_letters.MOST + 1)]

    assert dead_letters.count(client) == dead_letters.MOST
    kept = dead_letters.list_dead_letters(client)
    assert (kept[0].id, kept[-1].id) == (letters[-1].id, letters[1].id)


def test_a_dead_letter_goes_back_unchanged(client: redis.Redis) -> None:
    """Requeue puts the message back into its queue byte for byte, and takes it off the list."""
    add(client, message=b"stays")
    letter = add(client, message=b"\xff\xfe", queue="poll")

    assert dead_letters.requeue(client, letter_id=letter.id) == letter

    assert client.lrange("poll", 0, -1) == [b"\xff\xfe"]
    assert [kept.message for kept in dead_letters.list_dead_letters(client)] == [b"stays"]


def test_an_unknown_dead_letter_is_not_requeued(client: redis.Redis) -> None:
    """An id that is not there is an error that names it, and nothing changes."""
    add(client)

    with pytest.raises(dead_letters.NotRequeued, match="there is no dead letter 'nope'"):
        dead_letters.requeue(client, letter_id="nope")

    assert dead_letters.count(client) == 1
    assert client.llen("enqueue") == 0


def test_a_long_message_is_cut_and_stays(client: redis.Redis) -> None:
    """Of a message above 64 KiB the beginning is kept, and it cannot be put back."""
    letter = add(client, message=b"x" * (dead_letters.LONGEST_MESSAGE + 1))

    assert letter.is_cut
    assert len(letter.message) == dead_letters.LONGEST_MESSAGE
    with pytest.raises(dead_letters.NotRequeued, match="was cut to 65536 bytes: send it again"):
        dead_letters.requeue(client, letter_id=letter.id)
    assert dead_letters.count(client) == 1


@pytest.mark.parametrize(
    "entry",
    [b"hello", b"[]", b"{}", b'{"id": 1, "at": "x", "queue": "", "reason": "", "message": "", "is_cut": 0}'],
)
def test_a_strangers_entry_is_left_out(client: redis.Redis, entry: bytes) -> None:
    """Whatever somebody else wrote into the list hides no dead letter."""
    letter = add(client)
    client.lpush(dead_letters.KEY, entry)

    assert dead_letters.list_dead_letters(client) == [letter]


def test_messages_in_the_list_nobody_reads_are_counted(client: redis.Redis) -> None:
    """`suno.*` messages sent without a queue are counted; other programs' messages and litter are not."""
    names = ["suno.enqueue", "suno.poll", "other.task", 5, None]
    for name in names:
        client.lpush("celery", json.dumps({"headers": {"task": name}}))
    for litter in (b"hello", b"[]", b"5", b'{"headers": 5}', b"\xff"):
        client.lpush("celery", litter)

    assert dead_letters.misrouted_count(client) == 2
