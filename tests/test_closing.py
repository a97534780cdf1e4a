from __future__ import annotations

import functools
import gc
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

import kombu
import pytest
import redis
from celery import Celery
from celery import beat as celery_beat
from celery.beat import Scheduler, Service
from kombu.exceptions import OperationalError

from tests.chaos.proxy import Proxy, serve_proxy
from tests.programs import PATIENCE_S
from worker.beat import prepare_connections
from worker.closing import CLOSING_REDIS
from worker.embedded.valkey import HOST

QUEUE = kombu.Queue("own", kombu.Exchange("told", type="fanout", durable=False), auto_delete=True)


@pytest.fixture
def proxy(broker_url: str) -> Iterator[Proxy]:
    """Give what stands before the broker."""
    with serve_proxy((HOST, urlsplit(broker_url).port or 0)) as before_it:
        yield before_it


@pytest.fixture
def url(broker_url: str, proxy: Proxy) -> str:
    """Give the broker's address behind it."""
    return broker_url.replace(f":{urlsplit(broker_url).port}/", f":{proxy.port}/")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[redis.Connection]:
    """Give the connections that redis-py has opened since."""
    found: list[redis.Connection] = []
    connect = cast("Callable[[redis.Connection], None]", redis.Connection.connect)

    def noted(connection: redis.Connection) -> None:
        if connection not in found:
            found.append(connection)
        connect(connection)

    monkeypatch.setattr(redis.Connection, "connect", noted)
    return found


def still_open(connections: list[redis.Connection]) -> int:
    """Count those that hold a socket, which the broker may have closed long ago."""
    return sum(connection._sock is not None for connection in connections)  # noqa: SLF001 - nobody else says it


def lose_the_broker(proxy: Proxy) -> None:
    """Take it away: its connections are gone, new ones are refused."""
    proxy.refuses = True
    proxy.cut()


def test_a_channel_with_a_queue_of_its_own_is_closed_whole(
    url: str, proxy: Proxy, opened: list[redis.Connection]
) -> None:
    """The broker cannot be told that the queue ends, and nothing is kept for that."""
    connection = kombu.Connection(url.replace("redis://", f"{CLOSING_REDIS}://"))
    channel = cast("Any", connection.channel())  # its published type leaves out what is asked here
    kombu.Consumer(channel, [QUEUE]).consume()
    assert still_open(opened) == 2  # commands, and what the exchange tells
    lose_the_broker(proxy)

    connection.release()

    assert channel.closed
    assert still_open(opened) == 0


def test_a_queue_of_its_own_ends_with_its_channel(broker_url: str, opened: list[redis.Connection]) -> None:
    """A broker that is there is told, as kombu does it."""
    with (
        redis.Redis.from_url(broker_url) as broker,
        kombu.Connection(broker_url.replace("redis://", f"{CLOSING_REDIS}://")) as connection,
    ):
        kombu.Consumer(connection.channel(), [QUEUE]).consume()
        assert broker.smembers("_kombu.binding.told")

        connection.release()

        assert not broker.smembers("_kombu.binding.told")
        assert still_open(opened) == 1  # the test's own


def test_a_message_in_hand_does_not_keep_a_channel(
    url: str, broker_url: str, proxy: Proxy, opened: list[redis.Connection]
) -> None:
    """It cannot be given back now; it stays noted as taken, and the broker gives it back in time."""
    connection = kombu.Connection(url.replace("redis://", f"{CLOSING_REDIS}://"))
    channel = cast("Any", connection.channel())
    taken: list[object] = []
    kombu.Consumer(channel, [kombu.Queue("work")], on_message=taken.append).consume()
    connection.Producer().publish({}, routing_key="work")
    while not taken:
        connection.drain_events(timeout=10)
    lose_the_broker(proxy)

    connection.release()

    assert channel.closed
    assert still_open(opened) == 0
    with redis.Redis.from_url(broker_url) as broker:
        assert broker.hlen("unacked") == 1


def test_a_connection_that_never_was_leaves_nothing(url: str, proxy: Proxy) -> None:
    """What could not be opened goes at once: nobody waits for the collector."""

    def open_in_vain() -> weakref.ref[Any]:
        with kombu.Connection(url.replace("redis://", f"{CLOSING_REDIS}://")) as connection:
            transport = weakref.ref(connection.transport)
            with pytest.raises(OperationalError):
                connection.ensure_connection(max_retries=1, interval_start=0)
            return transport

    proxy.refuses = True
    gc.disable()
    try:
        assert open_in_vain()() is None
    finally:
        gc.enable()


def test_a_silent_connection_is_given_up(url: str, broker_url: str, proxy: Proxy) -> None:
    """Nothing comes over it any more and nobody says so: what the exchange tells is heard over another."""
    heard: list[object] = []
    with (
        kombu.Connection(
            url.replace("redis://", f"{CLOSING_REDIS}://"),
            transport_options={"health_check_interval": 1, "socket_timeout": 1},
        ) as connection,
        kombu.Connection(broker_url) as teller,
        kombu.Consumer(connection.channel(), [QUEUE], on_message=heard.append, no_ack=True),
    ):
        assert proxy.half_open() == 2
        end = time.monotonic() + PATIENCE_S
        while not heard and time.monotonic() < end:
            teller.Producer().publish({}, exchange="told", declare=[QUEUE.exchange])
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.5)

    assert heard


@pytest.fixture
def beat(url: str) -> Iterator[Service]:
    """Give a Beat that has begun, but does not tick."""
    with Celery(broker=url) as app:
        service = Service(app=app, scheduler_cls=Scheduler)
        prepare_connections(sender=service)
        yield service


def poller(connection: kombu.Connection) -> Any:  # noqa: ANN401 - `select.epoll`, where there is one
    """Return what the connection waits with."""
    return cast("Any", connection.transport).cycle.poller._epoll  # noqa: SLF001 - nobody else knows it


def test_beat_keeps_nothing_of_a_connection_that_it_rang_over(beat: Service, proxy: Proxy) -> None:
    """A ring that fails opens another, and closes what the first one had, whenever the collector comes."""
    connection = beat.scheduler.connection
    ring = functools.partial(beat.app.send_task, "ring", producer=beat.scheduler.producer)
    ring()
    before = poller(connection)
    lose_the_broker(proxy)

    with pytest.raises(OperationalError):
        ring()

    assert before.closed
    proxy.refuses = False
    ring()
    assert not poller(connection).closed


def test_beat_keeps_nothing_of_the_connection_that_it_was_asked_over(
    beat: Service, proxy: Proxy, opened: list[redis.Connection]
) -> None:
    """Whether it ticks: it listens to that on a connection of its own."""
    asked = cast("Any", celery_beat).BeatPidbox(beat)  # newer than its published types
    connection = asked._connect()  # noqa: SLF001 - the steps of its thread, one by one
    asked.node.channel = connection.channel()
    asked.node.listen(callback=asked.on_message)
    before = poller(connection)
    assert still_open(opened) == 2
    lose_the_broker(proxy)

    connection.release()

    assert still_open(opened) == 0
    assert before.closed
