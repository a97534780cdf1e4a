from __future__ import annotations

import pytest
from celery import Celery
from celery.beat import Scheduler, Service
from celery.worker.consumer import Consumer
from kombu import Connection
from kombu.exceptions import OperationalError

from tests.configuration import configured_app
from worker.beat import prepare_connections
from worker.guard import GuardedConsumer
from worker.reconnecting import look_often

NOBODY = "redis://127.0.0.1:9/0"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the pauses between tries, in none of which is really waited."""
    found: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", lambda _seconds: None)
    return found


def try_in_vain(connection: Connection, pauses: list[float]) -> None:
    """Look for a broker that is not there, six times."""
    with pytest.raises(OperationalError):
        connection.ensure_connection(lambda _error, pause: pauses.append(pause), max_retries=6)


def test_a_broker_that_is_away_is_looked_for_every_5_s(pauses: list[float]) -> None:
    """The pauses grow to 5 s and no further, where kombu's grow to 30 s."""
    with Connection(NOBODY) as connection:
        look_often(connection)
        try_in_vain(connection, pauses)

    assert pauses == [2, 4, 5, 5, 5, 5]


def test_a_worker_looks_often(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every connection that Celery's consumer waits for is one."""
    monkeypatch.setattr(Consumer, "ensure_connected", lambda _self, connection: connection)
    consumer = object.__new__(GuardedConsumer)
    consumer.app = configured_app()

    with Connection(NOBODY) as connection:
        try_in_vain(consumer.ensure_connected(connection), pauses)

    assert max(pauses) == 5


def test_beat_looks_often(pauses: list[float]) -> None:
    """Also a Beat that was started before its broker."""
    with Celery(broker=NOBODY) as app:
        beat = Service(app=app, scheduler_cls=Scheduler)
        prepare_connections(sender=beat)

        try_in_vain(beat.scheduler.connection, pauses)

    assert max(pauses) == 5
