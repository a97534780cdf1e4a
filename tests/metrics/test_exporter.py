"""What one scrape says."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import redis
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from tests.factory import NOW, add_attempt, add_delivery, add_gateway, add_task, add_transition
from worker import dead_letters
from worker.celery import QUEUES
from worker.db import figures, rejections
from worker.db.figures import Figures
from worker.db.session import Sessions, make_engine, make_sessions
from worker.metrics import events, exporter
from worker.metrics.exporter import Exporter

Scrape = Callable[[], dict[str, float]]


def scraping(sessions: Sessions, *, broker_url: str | None = None) -> Scrape:
    """Return a function that scrapes and gives `name{label="value"}` and its number."""
    registry = CollectorRegistry()
    registry.register(Exporter(sessions=sessions, queues=QUEUES, broker_url=lambda: broker_url))

    def scrape() -> dict[str, float]:
        families = text_string_to_metric_families(generate_latest(registry).decode())
        return {
            one.name.removeprefix("suno_worker_") + str(list(one.labels.values()) or ""): one.value
            for family in families
            for one in family.samples
        }

    return scrape


@pytest.fixture
def scrape(sessions: Sessions) -> Scrape:
    """Give scrapes of the test's own database, without a broker."""
    return scraping(sessions)


def test_events_are_counted_from_the_first_scrape_on(sessions: Sessions, scrape: Scrape) -> None:
    """What was there before is not counted; what comes is, once, and stays when its rows go."""
    with sessions.begin() as session:
        add_gateway(session)
        add_attempt(session, delivery_id=add_delivery(session))
    first = scrape()
    with sessions.begin() as session:
        add_attempt(session, delivery_id=add_delivery(session), status_code=204, at=NOW, duration_ms=300)
        add_attempt(session, delivery_id=add_delivery(session, state="DISCARDED", claims=1), status_code=410)
        failed = {"status_code": None, "error": "tls_error", "next_attempt_at": NOW}
        add_attempt(session, delivery_id=add_delivery(session), **failed)
        add_transition(session, suno_task_id=add_task(session, enqueued_at=NOW), to_status="FAILURE")
        rejections.add(session, source="x", reason="x", arguments="{}", now=NOW)
    second, third = scrape(), scrape()

    assert sum(value for name, value in first.items() if name.startswith("attempts_total")) == 0
    assert first["transitions_total['hub', 'SUCCESS']"] == 0
    for found in (second, third):
        assert found["attempts_total['2xx', 'delivered']"] == 1
        assert found["attempts_total['4xx', 'discarded']"] == 1
        assert found["attempts_total['tls_error', 'retried']"] == 1
        assert found["attempt_duration_seconds_count"] == 3
        assert found["delivery_lag_seconds_count"] == 1
        assert found["delivery_lag_seconds_sum"] == pytest.approx(0.3)
        assert found["attempt_lag_seconds_count"] == 3
        assert found["transitions_total['hub', 'FAILURE']"] == 1
        assert found["task_duration_seconds_count['FAILURE']"] == 1
        assert found["rejections_total"] == 1


def test_no_series_comes_with_its_first_event(sessions: Sessions, scrape: Scrape) -> None:
    """Prometheus sees no increase from nothing to 1: all series of closed sets begin with zero."""
    with sessions.begin() as session:
        add_gateway(session)
    scrape()
    before = set(scrape())
    with sessions.begin() as session:
        for status_code, error in ((200, None), (302, None), (404, None), (503, None), (None, "dns_error")):
            add_attempt(session, delivery_id=add_delivery(session), status_code=status_code, error=error)
            add_transition(session, suno_task_id=add_task(session), to_status="SUCCESS")

    assert set(scrape()) == before


def test_gauges(sessions: Sessions, scrape: Scrape) -> None:
    """States of gateways, receivers, deliveries and tasks, with closed sets of labels."""
    with sessions.begin() as session:
        add_gateway(session, configured_at=NOW, failures=2, trouble="unauthorized")
        add_task(session)
        add_delivery(session)
        add_delivery(session, state="DELIVERED", origin="https://other.example:443")

    found = scrape()

    assert found["pending_tasks['hub']"] == 1
    assert found["gateway_configured['hub']"] == 1
    assert found["gateway_failures['hub']"] == 2
    assert found["gateway_trouble['hub', 'unauthorized']"] == 1
    assert found["gateway_trouble['hub', 'timeout']"] == 0
    assert found["gateway_cooldown_seconds['hub']"] == 0
    assert found["receivers['closed']"] == 1
    assert [found[f"deliveries['{state}']"] for state in ("PENDING", "DELIVERED", "DISCARDED")] == [1, 1, 0]
    assert (found["tasks['SUBMITTED']"], found["tasks['IN_PROGRESS']"], found["finished_tasks"]) == (1, 0, 2)
    assert found["oldest_due_seconds['delivery']"] > 0
    assert found["database_up"] == 1
    assert not [name for name in found if "example" in name]


def test_what_is_kept_is_counted_once_a_minute(
    sessions: Sessions, scrape: Scrape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scrapes in between repeat the number and its time."""
    first = scrape()
    with sessions.begin() as session:
        add_gateway(session)
        add_task(session)
    soon = scrape()
    monkeypatch.setattr(exporter, "COUNTS_KEPT_FOR_S", 0.0)
    later = scrape()

    assert [one["tasks['SUBMITTED']"] for one in (first, soon, later)] == [0, 0, 1]
    assert first["counted_timestamp_seconds"] == soon["counted_timestamp_seconds"]
    assert first["counted_timestamp_seconds"] < later["counted_timestamp_seconds"]


def test_a_count_that_takes_too_long_leaves_the_rest(
    engine: Engine, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is missing and an error; the next scrape does not try again at once."""
    monkeypatch.setattr(exporter, "COUNTS_LIMIT", timedelta(seconds=0.1))
    slow = (
        "pg_sleep(60)"
        if engine.dialect.name == "postgresql"
        else "(WITH RECURSIVE n(i) AS ({}) {})".format(
            "SELECT 1 UNION ALL SELECT i + 1 FROM n", "SELECT count(*) FROM n"
        )
    )
    monkeypatch.setattr(exporter, "read_counts", lambda session: session.execute(text(f"SELECT {slow}")))
    scrape = scraping(sessions)

    first, second = scrape(), scrape()

    for found in (first, second):
        assert found["exporter_errors_total['counts']"] == 1
        assert found["database_up"] == 1
        assert "tasks['SUBMITTED']" not in found
        assert "deliveries['PENDING']" not in found
        assert "receivers['open']" in found


def test_many_new_rows_are_read_in_one_scrape(sessions: Sessions, scrape: Scrape) -> None:
    """Pages follow each other while there is time."""
    scrape()
    with sessions.begin() as session:
        for _ in range(1_001):
            rejections.add(session, source="x", reason="x", arguments="{}", now=NOW)

    assert scrape()["rejections_total"] == 1_001


def test_a_flood_of_new_rows_is_left_for_the_next_scrape(
    sessions: Sessions, scrape: Scrape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When its time is over a scrape answers with what it has."""
    scrape()
    monkeypatch.setattr(events, "GOES_ON_FOR_S", 0.0)
    with sessions.begin() as session:
        for _ in range(1_001):
            rejections.add(session, source="x", reason="x", arguments="{}", now=NOW)

    assert [scrape()["rejections_total"] for _ in range(2)] == [1_000, 1_001]


def test_a_broker_is_looked_into(sessions: Sessions, broker_url: str) -> None:
    """What waits in each queue, and how many messages were moved aside."""
    with redis.Redis.from_url(broker_url) as client:
        client.lpush("enqueue", "a", "b")
        dead_letters.add(client, queue="poll", reason="x", message=b"x", now=NOW)

    found = scraping(sessions, broker_url=broker_url)()

    assert [found[f"queue_messages['{name}']"] for name in QUEUES] == [2, 0, 0]
    assert (found["dead_letters"], found["broker_up"]) == (1, 1)


def test_a_database_that_is_away_is_zero_and_not_an_error(
    caplog: pytest.LogCaptureFixture, broker_url: str
) -> None:
    """The scrape succeeds, the rest is there, and one line says why; another when it is back."""
    engine = make_engine("postgresql+psycopg://worker:hunter2@127.0.0.1:1/worker")
    scrape = scraping(make_sessions(engine), broker_url=broker_url)

    with caplog.at_level(logging.INFO):
        first, second = scrape(), scrape()

    for found, errors in ((first, 1), (second, 2)):
        assert (found["database_up"], found["broker_up"], found["dead_letters"]) == (0, 1, 0)
        assert found["exporter_errors_total['figures']"] == errors
        assert not [name for name in found if name.startswith(("tasks", "oldest", "pending"))]
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("part=figures cannot be read: ")
    assert "hunter2" not in line


def test_it_heals_by_itself(
    caplog: pytest.LogCaptureFixture, engine: Engine, sessions: Sessions, scrape: Scrape
) -> None:
    """When the database can be read again one line says so, and counters go on where they were."""
    scrape()
    with sessions.begin() as session:
        rejections.add(session, source="x", reason="x", arguments="{}", now=NOW)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE origins RENAME TO elsewhere"))
    gone = scrape()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO origins"))
    with caplog.at_level(logging.INFO):
        back = scrape()

    assert (gone["database_up"], gone["rejections_total"]) == (0, 0)
    assert (back["database_up"], back["rejections_total"]) == (1, 1)
    assert caplog.records[-1].getMessage() == "part=figures can be read again"


def test_a_broker_that_is_away_is_zero_and_not_an_error(sessions: Sessions) -> None:
    """Nothing is said of its lists."""
    found = scraping(sessions, broker_url="redis://:hunter2@127.0.0.1:1/0")()

    assert (found["database_up"], found["broker_up"]) == (1, 0)
    assert found["exporter_errors_total['broker']"] == 1
    assert "dead_letters" not in found


def test_a_scrape_says_what_it_took(scrape: Scrape) -> None:
    """Each part's seconds are those of the last reading."""
    begun = time.monotonic()
    found = scrape()
    took = time.monotonic() - begun

    of_database = [found[f"exporter_read_seconds['{part}']"] for part in ("figures", "events", "counts")]
    assert all(seconds > 0 for seconds in of_database)
    assert sum(of_database) < took
    assert 0 < found["exporter_read_seconds['broker']"] < took


def test_the_broker_is_read_beside_the_database(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two slow parts do not add up to a scrape that Prometheus gives up."""
    both = threading.Barrier(2, timeout=30)

    def broker_url() -> None:
        both.wait()

    def read_figures(session: Session, *, now: datetime) -> Figures:
        both.wait()
        return figures.read_figures(session, now=now)

    monkeypatch.setattr(exporter, "read_figures", read_figures)
    registry = CollectorRegistry()
    registry.register(Exporter(sessions=sessions, queues=QUEUES, broker_url=broker_url))

    assert b"suno_worker_database_up 1.0" in generate_latest(registry)


def test_the_longest_scrape_is_shorter_than_the_wait_of_prometheus() -> None:
    """By default it waits 10 s; a scrape that it gave up would look like the exporter's death."""
    reading = exporter.FIGURES_LIMIT + events.PAGE_LIMIT + exporter.COUNTS_LIMIT

    assert reading.total_seconds() + events.GOES_ON_FOR_S < 10
    assert max(exporter.FIGURES_LIMIT, exporter.COUNTS_LIMIT) >= exporter.GONE_AFTER
