from __future__ import annotations

import json
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import kombu
import pytest
import redis
import time_machine
from celery import Celery

from tests.configuration import configured_app
from tests.programs import NO_GATEWAY, PATIENCE_S, running, running_program
from worker.broker_steps import SEARCHED
from worker.guard import GUARDED_REDIS, KEPT_QUEUES
from worker.wakening import Wakening

# The process dies before it can tell the broker what it has got: what kombu does next is never done.
DIES_WITH_ITS_FIRST_MESSAGE = """
import os, signal
from kombu.transport.virtual import Transport
Transport._deliver = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
import celery.__main__
celery.__main__.main()
"""

Opened = Any  # a channel, of which kombu's published type leaves out what is asked here

VISIBILITY_TIMEOUT_S: float = configured_app().conf.broker_transport_options["visibility_timeout"]

LOOKS_ONCE = """
from kombu.asynchronous.hub import Hub
repeatedly = Hub.call_repeatedly
Hub.call_repeatedly = lambda hub, every, call: (
    hub.call_later(0.5, call) if call.__name__ == "look" else repeatedly(hub, every, call)
)
import celery.__main__
celery.__main__.main()
"""


@pytest.fixture
def settings(sqlite_url: str, broker_url: str) -> dict[str, str]:
    """Give what a worker is started with."""
    return {**NO_GATEWAY, "WORKER_DATABASE_URL": sqlite_url, "WORKER_BROKER_URL": broker_url}


@pytest.fixture
def broker(broker_url: str) -> Iterator[redis.Redis]:
    """Give a client of the broker."""
    with redis.Redis.from_url(broker_url) as client:
        yield client


@pytest.fixture
def channel(broker_url: str) -> Iterator[Opened]:
    """Give a worker's channel to the broker."""
    with kombu.Connection(broker_url.replace("redis://", f"{GUARDED_REDIS}://")) as connection:
        options = configured_app().conf.broker_transport_options
        connection.transport_options = {
            **options,
            "guarded_queues": KEPT_QUEUES,
            "kept_queues": KEPT_QUEUES,
        }
        yield connection.channel()


@pytest.mark.parametrize("priority", [0, 3])
def test_a_request_is_never_only_in_a_workers_hands(
    settings: dict[str, str], broker: redis.Redis, tmp_path: Path, priority: int
) -> None:
    """A worker that is killed the moment it gets a request leaves it with the broker, noted as taken, and the
    next worker does it when the time for that is over.
    """
    dying = [sys.executable, "-c", DIES_WITH_ITS_FIRST_MESSAGE, "-A", "worker", "worker"]
    with running_program(dying, settings=settings, folder=tmp_path) as first:
        with closing(Celery(broker=settings["WORKER_BROKER_URL"])) as sender:
            arguments = {"task_id": "x", "action": "MUSIC"}
            sender.send_task("suno.enqueue", kwargs=arguments, queue="enqueue", priority=priority)
        first.end()
        assert first.child.ended() == -signal.SIGKILL

    ((tag, note),) = broker.hgetall("unacked").items()
    payload, _, routing_key = json.loads(note)
    assert (payload["properties"]["delivery_tag"].encode(), routing_key) == (tag, "enqueue")
    assert broker.zscore("unacked_index", tag) is not None
    broker.zadd("unacked_index", {payload["properties"]["delivery_tag"]: 0})

    with running("worker", settings=settings, folder=tmp_path) as second:
        second.wait_for("gateway=main task_id='x' is under watch")
    assert broker.hlen("unacked") == 0


def test_two_workers_take_each_request_once(settings: dict[str, str], tmp_path: Path) -> None:
    """Whoever comes second to a message finds it gone and goes on: every request is done, and done once."""
    broker_url = settings["WORKER_BROKER_URL"]
    kept = settings | {"WORKER_RESULT_BACKEND": broker_url}
    (tmp_path / "other").mkdir()
    with (
        closing(Celery(broker=broker_url, backend=broker_url)) as sender,
        running("worker", "-n", "one@%h", settings=kept, folder=tmp_path) as one,
        running("worker", "-n", "two@%h", settings=kept, folder=tmp_path / "other") as two,
    ):
        one.wait_for(" ready.")
        two.wait_for(" ready.")
        sent = [
            sender.send_task("suno.enqueue", kwargs={"task_id": name, "action": "MUSIC"}, queue="enqueue")
            for name in map(str, range(40))
        ]
        done = [one_sent.get(timeout=PATIENCE_S) for one_sent in sent]

    assert [outcome["created"] for outcome in done] == [True] * 40
    assert (one.output.text + two.output.text).count(" is under watch") == 40


def test_a_channel_is_closed_whole_when_its_broker_is_gone(broker: redis.Redis, broker_url: str) -> None:
    """A look that can no longer be read keeps none of its connections: each outage would leave some."""
    before = connections(broker)
    connection = kombu.Connection(broker_url.replace("redis://", f"{GUARDED_REDIS}://"))
    connection.transport_options = {"guarded_queues": ["poll"], "kept_queues": KEPT_QUEUES}
    channel = cast("Any", connection.channel())  # its published type leaves out what is asked here
    kombu.Consumer(channel, [kombu.Queue("poll")]).consume()
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.1)  # leaves a look open at the broker
    channel.client.connection._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001 - the network's part

    connection.close()

    assert channel.closed
    assert not channel.qos._on_collect.still_active()  # noqa: SLF001 - it would keep the channel for ever
    assert connections(broker) <= before


def connections(broker: redis.Redis) -> int:
    """Count the connections that the broker has, this client's among them."""
    return len(broker.client_list())


def test_a_backlog_does_not_wait_for_the_next_look(
    settings: dict[str, str], broker: redis.Redis, tmp_path: Path
) -> None:
    """More requests than there are threads are taken as threads get free: one regular look begins it all."""
    kept = settings | {"WORKER_RESULT_BACKEND": settings["WORKER_BROKER_URL"]}
    with closing(Celery(broker=kept["WORKER_BROKER_URL"], backend=kept["WORKER_BROKER_URL"])) as sender:
        sent = [
            sender.send_task(
                "suno.enqueue",
                kwargs={"task_id": str(number), "action": "MUSIC"},
                queue="enqueue",
                priority=3 * (number % 2),
            )
            for number in range(60)
        ]
        program = [sys.executable, "-c", LOOKS_ONCE, "-A", "worker", "worker"]
        with running_program(program, settings=kept, folder=tmp_path):
            done = [one.get(timeout=PATIENCE_S) for one in sent]

    assert [outcome["created"] for outcome in done] == [True] * 60
    assert (broker.hlen("unacked"), broker.zcard("unacked_index")) == (0, 0)


def test_a_worker_that_dies_while_it_gives_messages_back_does_not_hold_that_up(
    broker: redis.Redis, channel: Opened
) -> None:
    """The lock under which a worker gives back what dead ones held ends soon if the worker dies with it; by
    kombu's default all those messages would wait for 5 minutes.
    """
    broker.zadd("unacked_index", {"of a dead worker": 0})
    seen: list[int] = []
    channel.qos.restore_by_tag = lambda *_: seen.append(broker.pttl("unacked_mutex"))
    channel.qos.restore_visible()

    (milliseconds,) = seen
    assert 0 < milliseconds <= 30_000


def test_a_message_that_another_has_taken_is_not_looked_for_in_a_whole_backlog(
    broker: redis.Redis, channel: Opened
) -> None:
    """Whoever comes second to a message looks for it at the end of the list alone, where it was seen: with a
    million behind it one search would keep the broker from everybody else for a tenth of a second.
    """
    far, near = (json.dumps(message(tag)).encode() for tag in ("far", "near"))
    broker.rpush("enqueue", far, *[b"{}"] * SEARCHED, near, b"{}")
    taken = channel._move(broker, "enqueue", [near, far])  # noqa: SLF001 - the one step in question

    assert taken == [message("near")]
    assert broker.hkeys("unacked") == [b"near"]
    assert broker.lrange("enqueue", 0, 0) == [far]


def test_nor_is_a_malformed_one(
    broker: redis.Redis, channel: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes malformed messages in front of a long list keeps nobody from the broker either: two
    workers see each, and the second would have looked through the whole list for it.
    """
    aside: list[bytes] = []
    broker.rpush("enqueue", b"far", *[b"well"] * SEARCHED, b"near", b"well")
    kombu.Consumer(channel, [kombu.Queue("enqueue")]).consume()
    monkeypatch.setattr(channel, "_move", lambda *_: [])
    monkeypatch.setattr(redis.client.Pipeline, "execute", lambda _pipe: [[b"far", b"near"], [], [], []])

    channel.take_kept(
        judge=lambda _queue, item: None if item == b"well" else "malformed",
        move_aside=lambda _client, _queue, _reason, item: aside.append(item),
        again=Wakening(lambda: None),
    )

    assert aside == [b"near"]
    assert broker.lrange("enqueue", 0, 0) == [b"far"]


@pytest.mark.parametrize("ahead_s", [3600.0, -3600.0])
def test_how_long_a_request_is_out_is_told_by_the_brokers_clock(
    broker: redis.Redis, channel: Opened, ahead_s: float
) -> None:
    """A worker whose clock is an hour off takes no request from one who works on it, and gives back those of
    a dead worker when their time is over.
    """
    seconds, _ = broker.time()
    broker.rpush("enqueue", *(json.dumps(message(tag)) for tag in ("fresh", "old")))
    with time_machine.travel(seconds + ahead_s):
        channel._move(broker, "enqueue", broker.lrange("enqueue", 0, -1))  # noqa: SLF001 - what is in question
        assert broker.zscore("unacked_index", "fresh") == pytest.approx(seconds, abs=PATIENCE_S)
        broker.zadd("unacked_index", {"old": seconds - VISIBILITY_TIMEOUT_S - 1})
        channel.qos.restore_visible()

    assert broker.hkeys("unacked") == [b"fresh"]


def test_an_error_at_one_request_gives_those_behind_it_back(
    broker: redis.Redis, channel: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken together with a request at which its taker failed is on its list again at once, in its
    old order: otherwise it would wait with the broker for 180 s.
    """
    handed: list[str] = []

    def deliver(payload: dict[str, Any], _queue: str) -> None:
        handed.append(payload["properties"]["delivery_tag"])
        if handed[-1] == "second":
            raise ConnectionError

    monkeypatch.setattr(channel.connection, "_deliver", deliver)
    kombu.Consumer(channel, [kombu.Queue("enqueue")]).consume()
    broker.lpush("enqueue", *(json.dumps(message(tag)) for tag in ("first", "second", "third", "fourth")))
    with pytest.raises(ConnectionError):
        channel.take_kept(judge=lambda *_: None, move_aside=lambda *_: None, again=Wakening(lambda: None))

    assert handed == ["first", "second"]
    left = [json.loads(item)["properties"]["delivery_tag"] for item in broker.lrange("enqueue", 0, -1)]
    assert left == ["fourth", "third"]
    assert sorted(broker.hkeys("unacked")) == [b"first", b"second"]
    assert channel.noted == {"first"}  # which nobody has counted here


def message(tag: str) -> dict[str, Any]:
    """Return what kombu notes of a message."""
    sent_to = {"exchange": "", "routing_key": "enqueue"}
    return {"body": "", "properties": {"delivery_tag": tag, "delivery_info": sent_to}}
