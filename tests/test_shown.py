"""What Flower shows of a message."""

from __future__ import annotations

import base64
import json
import uuid
from pathlib import Path

import pytest
import redis
from celery import Celery

from tests.programs import NO_GATEWAY, running
from worker.shown import shown


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "{}"),
        ((), "()"),
        ([1, "a"], "(1, 'a')"),
        (None, "None"),
        (
            {"x": 1, "notify_hook": "https://h.example/a/b", "action": "MUSIC", "task_id": "t"},
            "{'task_id': 't', 'action': 'MUSIC', 'notify_hook': 'https://h.example/a/b', 'x': 1}",
        ),
        ({"notify_hook": "https://h/a?token=x\ny"}, "{'notify_hook': 'https://h/a?***'}"),
        ({"notify_hook": "https://me:secret@h/a"}, "{'notify_hook': 'https://***@h/a'}"),
        ({"hook": "https://h/a?token=x"}, "{'hook': 'https://h/a?***'}"),
        (["t", "https://h/a?token=x"], "('t', 'https://h/a?***')"),
        ({"task_id": "what?"}, "{'task_id': 'what?'}"),
    ],
    ids=[
        *("nothing", "no positional", "positional", "no dictionary", "ours first", "a query"),
        *("a password", "a misspelt name", "by position", "a question is no query"),
    ],
)
def test_arguments_are_shown_in_one_order_and_without_tokens(arguments: object, text: str) -> None:
    """A hook's query and password are masked, whatever its argument is called."""
    assert shown(arguments) == text


def test_a_message_of_another_language_is_shown_too(sqlite_url: str, broker_url: str, tmp_path: Path) -> None:
    """Its sender wrote no text of the arguments; the worker's event has one all the same."""
    settings = {**NO_GATEWAY, "WORKER_DATABASE_URL": sqlite_url, "WORKER_BROKER_URL": broker_url}
    arguments = {"action": "MUSIC", "task_id": "t", "notify_hook": "https://h.example/a?token=x"}
    celery_id = str(uuid.uuid4())
    body = base64.b64encode(json.dumps([[], arguments, {}]).encode()).decode()
    message = {
        "body": body,
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {"lang": "js", "task": "suno.enqueue", "id": celery_id},
        "properties": {
            "body_encoding": "base64",
            "correlation_id": celery_id,
            "delivery_info": {"exchange": "enqueue", "routing_key": "enqueue"},
            "delivery_mode": 2,
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    received: list[dict[str, object]] = []

    with running("worker", settings=settings, folder=tmp_path) as worker, Celery(broker=broker_url) as app:
        worker.wait_for(" ready.")
        with app.connection() as connection, redis.Redis.from_url(broker_url) as client:
            events = app.events.Receiver(connection, handlers={})

            def note(event: dict[str, object]) -> None:
                received.append(event)
                events.should_stop = True

            events.handlers["task-received"] = note
            events.on_consume_ready = lambda *_, **__: client.lpush("enqueue", json.dumps(message))
            events.capture(limit=None, timeout=30)

    (event,) = received
    assert event["args"] == "()"
    assert event["kwargs"] == (
        "{'task_id': 't', 'action': 'MUSIC', 'notify_hook': 'https://h.example/a?***'}"
    )
