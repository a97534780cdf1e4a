from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from celery import Celery
from celery.exceptions import NotRegistered
from kombu.transport.virtual import Message as VirtualMessage
from sqlalchemy import select

from tests.malformed import EMBED, MALFORMED, MINIMAL, OLD, message
from tests.programs import NO_GATEWAY, PATIENCE_S, Program, running
from worker import dead_letters
from worker.db.models import SunoTask
from worker.db.session import Sessions, make_engine, make_sessions, reading
from worker.embedded.valkey import launch_valkey
from worker.stale_rings import take_ring

# They share one worker, so they run in one process of the test run.
pytestmark = pytest.mark.xdist_group("guard")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A worker as it is started by anyone, and another service that writes to its broker."""

    worker: Program
    broker_url: str
    broker: redis.Redis
    sender: Celery
    sessions: Sessions

    def good_message_runs(self, *, queue: str = "enqueue", priority: int = 0) -> None:
        """Enqueue as other services do and wait for the result."""
        sent = self.sender.send_task(
            "suno.enqueue", kwargs={"task_id": "good", "action": "MUSIC"}, queue=queue, priority=priority
        )
        assert sent.get(timeout=PATIENCE_S)["task_id"] == "good"

    def is_watched(self, task_id: str) -> bool:
        """Say whether the Suno task has a row."""
        with reading(self.sessions) as session:
            return session.scalar(select(SunoTask.id).where(SunoTask.task_id == task_id)) is not None


@pytest.fixture(scope="module")
def started(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Give one worker for all tests here: that it survives each of them is what they are about."""
    folder = tmp_path_factory.mktemp("guard")
    database_url = f"sqlite:///{shutil.copy(migrated_file, folder / 'worker.db')}"
    engine = make_engine(database_url)
    server = launch_valkey(folder=folder / "valkey")
    backend = server.url.removesuffix("/0") + "/1"
    with ExitStack() as stack:
        stack.callback(server.stop)
        stack.callback(engine.dispose)
        worker = stack.enter_context(
            running(
                "worker",
                settings={
                    **NO_GATEWAY,
                    "WORKER_DATABASE_URL": database_url,
                    "WORKER_BROKER_URL": server.url,
                    "WORKER_RESULT_BACKEND": backend,
                },
                folder=folder,
            )
        )
        worker.wait_for(" ready.")
        sender = stack.enter_context(closing(Celery(broker=server.url, backend=backend)))
        broker = stack.enter_context(dead_letters.connect(server.url))
        yield Scene(
            worker=worker, broker_url=server.url, broker=broker, sender=sender, sessions=make_sessions(engine)
        )


@pytest.fixture
def scene(started: Scene) -> Scene:
    """Give the worker with an empty list of dead letters."""
    started.broker.delete(dead_letters.KEY)
    return started


@pytest.mark.parametrize(("item", "reason"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_message_is_moved_aside(scene: Scene, item: bytes, reason: str) -> None:
    """Whatever lies in a queue, the worker goes on over the same connection; the item is a dead letter."""
    scene.broker.lpush("enqueue", item)

    scene.good_message_runs()

    (letter,) = dead_letters.list_dead_letters(scene.broker)
    assert letter.queue == "enqueue"
    assert letter.reason.startswith(reason)
    assert json_or_bytes(letter.message) == json_or_bytes(item[: dead_letters.LONGEST_MESSAGE])
    assert "Connection to broker lost" not in scene.worker.output.text


@pytest.mark.parametrize(
    ("queue", "key"),
    [("poll", "poll"), ("deliver", "deliver"), ("enqueue", "enqueue\x06\x163")],
    ids=["poll", "deliver", "priority 3"],
)
def test_every_queue_is_guarded(scene: Scene, queue: str, key: str) -> None:
    """The guard stands before each queue that a worker reads, and before the lists of its priorities."""
    scene.broker.lpush(key, b"hello")

    scene.good_message_runs(queue=queue, priority=3)

    (letter,) = dead_letters.list_dead_letters(scene.broker)
    assert (letter.queue, letter.message) == (queue, b"hello")


@pytest.mark.parametrize(
    ("item", "task_id"), [(MINIMAL, "minimal"), (OLD, "old")], ids=["minimal", "protocol 1"]
)
def test_a_foreign_producer_needs_only_a_list_push(scene: Scene, item: bytes, task_id: str) -> None:
    """The least message of protocol 2, and one of protocol 1, run without any Celery on the other side."""
    scene.broker.lpush("enqueue", item)

    scene.good_message_runs()

    scene.worker.wait_for(f"task_id='{task_id}' is under watch")
    assert scene.is_watched(task_id)
    assert dead_letters.count(scene.broker) == 0


@dataclass(frozen=True, slots=True)
class Trap:
    """Makes a file when it is unpickled."""

    file: Path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.file,)


@pytest.mark.parametrize("content_type", ["application/x-python-serialize", "application/json"])
def test_a_pickle_is_never_opened(scene: Scene, tmp_path: Path, content_type: str) -> None:
    """A message that would run code when it is unpickled is moved aside as it is, whatever it says it is."""
    trap = pickle.dumps([[Trap(tmp_path / "sprung")], {}, EMBED])
    envelope = json.loads(message(content_type=content_type, content_encoding="binary"))
    scene.broker.lpush("enqueue", json.dumps(envelope | {"body": base64.b64encode(trap).decode()}))

    scene.good_message_runs()

    assert dead_letters.count(scene.broker) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_sender_of_an_unknown_task_is_told(scene: Scene) -> None:
    """Who waits for the result of a task that does not exist gets the error, and the log no traceback."""
    sent = scene.sender.send_task("suno.enqueu", queue="enqueue")

    with pytest.raises(NotRegistered, match="enqueu"):
        sent.get(timeout=PATIENCE_S)

    assert "Traceback" not in scene.worker.output.text


def test_an_unknown_task_while_the_results_are_away(
    tmp_path: Path, migrated_file: Path, broker_url: str
) -> None:
    """Nobody can be told then: one line says so, and the worker goes on over the same connection."""
    settings = {
        **NO_GATEWAY,
        "WORKER_DATABASE_URL": f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'worker.db')}",
        "WORKER_BROKER_URL": broker_url,
        "WORKER_RESULT_BACKEND": "redis://:of-the-results@127.0.0.1:9/0",  # nothing listens there
    }
    with (
        running("worker", settings=settings, folder=tmp_path) as worker,
        closing(Celery(broker=broker_url)) as sender,
    ):
        worker.wait_for(" ready.")
        sender.send_task("suno.enqueu", queue="enqueue", task_id="a-message")
        worker.wait_for("dead letter")
        sender.send_task("suno.enqueue", kwargs={"task_id": "good", "action": "MUSIC"}, queue="enqueue")
        said = worker.wait_for("task_id='good' is under watch")

    assert "the sender of 'suno.enqueu' [a-message] is not told, results cannot be kept: " in said
    assert "Connection to broker lost" not in said
    assert "Traceback" not in said
    assert "of-the-results" not in said


def test_a_requeued_message_is_judged_again(scene: Scene) -> None:
    """A dead letter that is put back unchanged comes back as a new one, and still stops nobody."""
    scene.broker.lpush("enqueue", b"hello")
    scene.good_message_runs()
    (first,) = dead_letters.list_dead_letters(scene.broker)

    dead_letters.requeue(scene.broker, letter_id=first.id)
    scene.good_message_runs()

    (second,) = dead_letters.list_dead_letters(scene.broker)
    assert (second.message, second.queue) == (first.message, first.queue)
    assert second.id != first.id


@pytest.mark.parametrize("behind", [0, 1], ids=["the last one", "others behind"])
@pytest.mark.parametrize(
    "expires",
    [None, "2020-01-01T00:00:00+00:00", "2020-01-01T00:00:00", "2100-01-01T00:00:00+00:00"],
    ids=["never", "expired", "expired, no zone", "fresh"],
)
def test_a_ring_expires_only_while_others_wait_behind_it(
    broker_url: str, expires: str | None, behind: int
) -> None:
    """Whose clock is wrong nobody knows, so the last ring of a queue always rings."""
    handed_on: list[str | None] = []
    with redis.Redis.from_url(broker_url) as client:
        for _ in range(behind):
            client.lpush("poll", b"a ring")
        channel: Any = SimpleNamespace(conn_or_acquire=lambda: nullcontext(client))
        properties = {"delivery_tag": "a-tag", "delivery_info": {"routing_key": "poll"}}
        ring = VirtualMessage({"headers": {"expires": expires}, "properties": properties}, channel=channel)
        take_ring(lambda message: handed_on.append(message.headers.get("expires")), ring)

    is_stale = expires is not None and expires.startswith("2020") and behind
    assert handed_on == [expires if is_stale else None]


def test_remote_control_passes_the_guard(scene: Scene) -> None:
    """The guard judges tasks only: `celery inspect ping` is answered."""
    answers = scene.sender.control.ping(timeout=PATIENCE_S, limit=1) or []

    assert [list(answer.values()) for answer in answers] == [[{"ok": "pong"}]]


def test_the_workers_statistics_are_told(scene: Scene) -> None:
    """`celery -A worker inspect stats` is answered in JSON, and the answer holds no password."""
    whom = [f"--destination=celery@{socket.gethostname()}", f"--timeout={PATIENCE_S}"]
    asked = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", "inspect", *whom, "--json", "stats"],
        env={**os.environ, "WORKER_BROKER_URL": scene.broker_url},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )

    assert asked.returncode == 0, asked.stderr
    (stats,) = json.loads(asked.stdout).values()
    assert stats["pool"]["max-concurrency"] == 16
    assert stats["broker"]["transport_options"]["guarded_queues"] == ["deliver", "enqueue", "poll"]
    assert str(urlsplit(scene.broker_url).password) not in asked.stdout
    assert "Traceback" not in scene.worker.output.text


def json_or_bytes(item: bytes) -> object:
    """Return the JSON value: a message that reached Celery is kept as kombu writes it, others as sent."""
    try:
        return json.loads(item)
    except (ValueError, RecursionError):
        return item
