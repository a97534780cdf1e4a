from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from celery import Celery
from celery.exceptions import Reject
from celery.signals import worker_shutting_down
from sqlalchemy import func, make_url, select

from tests.configuration import configured_app
from tests.programs import NO_GATEWAY, PATIENCE_S, Program, running
from worker import process, tasks
from worker.db.models import Rejection, SunoTask
from worker.db.session import Sessions, make_engine, make_sessions, reading
from worker.embedded.valkey import free_port, launch_valkey
from worker.runtime import Runtime
from worker.settings import load_settings

# What another service writes, word for word; it knows nothing of our code.
# They share one worker, so they run in one process of the test run.
pytestmark = pytest.mark.xdist_group("tasks")

OTHER_SERVICE = """
import json, sys
from celery import Celery

broker, backend, *requests = sys.argv[1:]
app = Celery(broker=broker, backend=backend)
app.conf.broker_transport_options = {"socket_timeout": 5, "socket_connect_timeout": 3}
for request in requests:
    sent = app.send_task("suno.enqueue", kwargs=json.loads(request), queue="enqueue")
    try:
        print(json.dumps(sent.get(timeout=30)))
    except Exception as error:
        print(json.dumps({"type": type(error).__name__, "args": error.args}))
assert "worker" not in sys.modules
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A worker with a result backend, and another service that writes to its broker."""

    worker: Program
    broker_url: str
    backend_url: str
    database_url: str
    sender: Celery
    sessions: Sessions
    folder: Path

    def enqueue(self, /, *positional: object, **arguments: object) -> Any:  # noqa: ANN401  # the task's own result
        """Send `suno.enqueue` as other services do, and wait for its result."""
        sent = self.sender.send_task("suno.enqueue", args=positional, kwargs=arguments, queue="enqueue")
        return sent.get(timeout=PATIENCE_S)

    def watched(self) -> int:
        """Count the Suno tasks under watch."""
        with reading(self.sessions) as session:
            return session.scalar(select(func.count()).select_from(SunoTask)) or 0

    def rejections(self) -> list[tuple[str, str, Any]]:
        """Return source, reason and arguments of all refusals, oldest first."""
        with reading(self.sessions) as session:
            rows = session.scalars(select(Rejection).order_by(Rejection.id))
            return [(row.source, row.reason, json.loads(row.arguments)) for row in rows]


@pytest.fixture(scope="module")
def scene(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Give one worker for the tests that do it no harm."""
    folder = tmp_path_factory.mktemp("tasks")
    database_url = f"sqlite:///{shutil.copy(migrated_file, folder / 'worker.db')}"
    engine = make_engine(database_url)
    server = launch_valkey(folder=folder / "valkey")
    backend = server.url.removesuffix("/0") + "/1"
    settings = {
        **NO_GATEWAY,
        "WORKER_DATABASE_URL": database_url,
        "WORKER_BROKER_URL": server.url,
        "WORKER_RESULT_BACKEND": backend,
    }
    with ExitStack() as stack:
        stack.callback(server.stop)
        stack.callback(engine.dispose)
        worker = stack.enter_context(running("worker", settings=settings, folder=folder))
        worker.wait_for(" ready.")
        yield Scene(
            worker=worker,
            broker_url=server.url,
            backend_url=backend,
            database_url=database_url,
            sender=stack.enter_context(closing(Celery(broker=server.url, backend=backend))),
            sessions=make_sessions(engine),
            folder=folder,
        )


def test_a_worker_run_by_root_says_so_in_one_line(scene: Scene) -> None:
    """Celery's warning of eight lines, which ignores the format of the log, is one line in ours."""
    said = scene.worker.output.text

    assert "SecurityWarning" not in said
    assert said.count("superuser") == 0
    assert said.count("WARNING worker.process this worker runs as root") == (os.geteuid() == 0)


def test_a_program_that_knows_nothing_of_us_enqueues(scene: Scene) -> None:
    """Another service's program puts a task under watch and is told so; it is told of a refusal too, as an
    exception that its Celery builds without our code.
    """
    good = {"task_id": "foreign", "action": "music", "notify_hook": "https://example.com/hook"}
    bad = {"task_id": "foreign", "action": "SONG"}

    spoken = subprocess.run(
        [sys.executable, "-I", "-c", OTHER_SERVICE, scene.broker_url, scene.backend_url]
        + [json.dumps(request) for request in (good, good, bad)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=scene.folder,
    )

    first, again, refused = map(json.loads, spoken.stdout.splitlines())
    taken = {"task_id": "foreign", "gateway": "main", "status": "SUBMITTED"}
    assert first == taken | {"created": True}
    assert again == taken | {"created": False}
    assert refused == {
        "type": "EnqueueRefused",
        "args": ["action: 'SONG' is unknown; use MUSIC or LYRICS"],
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "task_id: missing; it is required"),
        ({"task_id": "", "action": "MUSIC"}, "task_id: is empty; "),
        ({"task_id": "x" * 192, "action": "MUSIC"}, "task_id: has 192 characters; at most 191 are allowed"),
        ({"task_id": "a\nb", "action": "MUSIC"}, r"task_id: 'a\nb' holds a character that is not printable"),
        (
            {"task_id": "\ud800", "action": "MUSIC"},
            r"task_id: '\ud800' holds a character that is not printable",
        ),
        ({"task_id": 5, "action": "MUSIC"}, "task_id: must be a string, not int"),
        ({"task_id": "x", "action": "SONG"}, "action: 'SONG' is unknown; use MUSIC or LYRICS"),
        ({"task_id": "x", "action": "MUSIC", "hook": "x"}, "hook: unknown argument"),
        ({"task_id": "x", "action": "MUSIC", "gateway": "nope"}, "gateway: 'nope' is not configured"),
        ({"task_id": "x", "action": "MUSIC", "notify_hook": "ftp://example.com"}, "notify_hook: "),
        ({"task_id": "x", "action": "MUSIC", "notify_hook": "http://127.0.0.1/"}, "notify_hook: "),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_a_refusal_is_told_everywhere_and_changes_nothing(
    scene: Scene, arguments: dict[str, object], reason: str
) -> None:
    """The sender gets one plain line, `rejections` a row, the log one line without a traceback; no task is
    watched.
    """
    watched, refused = scene.watched(), len(scene.rejections())

    with pytest.raises(Exception, match=re.escape(reason)) as caught:
        scene.enqueue(**arguments)

    (said,) = caught.value.args
    assert said.startswith(reason)
    assert scene.watched() == watched
    (source, kept, asked) = scene.rejections()[refused]
    assert source.startswith("suno.enqueue gen")  # Celery's name for the sending process
    assert (kept, asked) == (said, json.loads(json.dumps(arguments).replace(r"\ud800", "?")))
    assert "Traceback" not in scene.worker.wait_for(" refused: ")


def test_positional_arguments_are_refused(scene: Scene) -> None:
    """Only keyword arguments are taken: a positional one is answered, not guessed at."""
    with pytest.raises(Exception, match="arguments: are positional; pass keyword arguments only"):
        scene.enqueue("x", "MUSIC")

    assert scene.rejections()[-1][2] == {"positional": ["x", "MUSIC"]}


def test_a_conflicting_repeat_is_refused(scene: Scene) -> None:
    """The same id with another hook is an error that says so, and the row stays as it was."""
    scene.enqueue(task_id="once", action="MUSIC", notify_hook="https://example.com/a")

    with pytest.raises(Exception, match="notify_hook: 'once' is already watched at gateway 'main'"):
        scene.enqueue(task_id="once", action="MUSIC", notify_hook="https://example.com/b")

    with reading(scene.sessions) as session:
        hooks = list(session.scalars(select(SunoTask.notify_hook).where(SunoTask.task_id == "once")))
    assert hooks == ["https://example.com/a"]


def test_flower_starts_tasks_and_shows_what_they_did(scene: Scene) -> None:
    """Flower's REST API enqueues and rings; it shows results and refusals. The result of `suno.enqueue` is
    kept for an hour, that of a doorbell never, even though Flower's messages ask for it.
    """
    port = free_port()
    settings = {
        **NO_GATEWAY,
        "WORKER_DATABASE_URL": scene.database_url,
        "WORKER_BROKER_URL": scene.broker_url,
        "FLOWER_UNAUTHENTICATED_API": "1",
    }
    options = (f"--port={port}", "--address=127.0.0.1")
    with running("flower", *options, settings=settings, folder=scene.folder) as flower:
        flower.wait_for("Visit me at")
        api = Flower(url=f"http://127.0.0.1:{port}/api")
        api.hears_events()

        good = api.send("suno.enqueue", task_id="by-flower", action="LYRICS")
        bad = api.send("suno.enqueue", task_id="by-flower", action="SONG")
        ring = api.send("suno.poll")

        shown = api.shown(good, state="SUCCESS")
        assert shown["kwargs"] == "{'task_id': 'by-flower', 'action': 'LYRICS'}"
        assert "'gateway': 'main', 'created': True" in shown["result"]
        assert "action: 'SONG' is unknown" in api.shown(bad, state="FAILURE")["exception"]
        assert "'polled': " in api.shown(ring, state="SUCCESS")["result"]
    with redis.Redis.from_url(scene.backend_url) as backend:
        kept = {name: backend.ttl(f"celery-task-meta-{name}") for name in (good, bad, ring)}
    assert kept[ring] == -2  # Redis' word for "there is no such key"
    assert 3_500 < min(kept[good], kept[bad]) <= max(kept[good], kept[bad]) <= 3_600


@pytest.fixture
def absent(postgresql_url: str, tmp_path: Path, broker_url: str) -> Absent:
    """Give a database whose server cannot be reached until `come_back` is called."""
    url = make_url(postgresql_url)
    real = Path(str(url.query["host"]))
    link = tmp_path / "postgresql"
    settings = {
        **NO_GATEWAY,
        "WORKER_DATABASE_URL": url.update_query_dict({"host": str(link)}).render_as_string(
            hide_password=False
        ),
        "WORKER_BROKER_URL": broker_url,
    }
    return Absent(real=real, link=link, settings=settings, broker_url=broker_url, folder=tmp_path)


def test_enqueue_outlasts_an_absent_database(absent: Absent) -> None:
    """While the database is away a request waits. A worker that is told to stop meanwhile ends at once and
    leaves the message in the queue; the next one takes it, and it is done when the database is back.
    """
    with closing(Celery(broker=absent.broker_url)) as sender, absent.broker() as broker:
        with absent.worker() as first:
            sender.send_task("suno.enqueue", kwargs={"task_id": "x", "action": "MUSIC"}, queue="enqueue")
            first.wait_for("the database is away; waiting up to 60 s for it")
            assert broker.hlen("unacked") == 1
            first.child.send(signal.SIGTERM)
            said = first.end()
        assert first.child.ended() == 0
        assert "Traceback" not in said
        assert (broker.llen("enqueue"), broker.hlen("unacked")) == (1, 0)

        with absent.worker() as second:
            second.wait_for("the database is away; waiting up to 60 s for it")
            absent.come_back()
            second.wait_for("gateway=main task_id='x' is under watch")
        assert (broker.llen("enqueue"), broker.hlen("unacked")) == (0, 0)


def test_a_killed_worker_loses_no_request(absent: Absent) -> None:
    """A request is acknowledged when its row is committed: SIGKILL before that leaves it with the broker."""
    with closing(Celery(broker=absent.broker_url)) as sender, absent.broker() as broker:
        with absent.worker() as worker:
            sender.send_task("suno.enqueue", kwargs={"task_id": "x", "action": "MUSIC"}, queue="enqueue")
            worker.wait_for("the database is away; waiting up to 60 s for it")
            worker.child.send(signal.SIGKILL)
            worker.end()

        (kept,) = broker.hvals("unacked")
    assert b"suno.enqueue" in kept


@pytest.fixture
def without_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let the tasks run in this process with a database that is not there."""
    configured_app()
    nowhere = {"WORKER_DATABASE_URL": f"postgresql+psycopg://x@/x?host={tmp_path}", **NO_GATEWAY}
    opened = Runtime.open(load_settings(nowhere), ring_deliver=lambda: None)
    monkeypatch.setattr(process, "_runtime", opened)
    yield
    opened.close()


@pytest.mark.usefixtures("without_database")
def test_a_request_goes_back_in_line_after_its_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that stays away for 60 s (here: 0) sends the message back to its queue; it is not lost."""
    monkeypatch.setattr(tasks, "PATIENCE_S", 0.0)

    with pytest.raises(Reject) as caught:
        tasks.enqueue(task_id="x", action="MUSIC")

    reason, requeue = caught.value.args
    assert reason.startswith("the database is away: connection is bad")
    assert requeue is True


@pytest.mark.usefixtures("without_database")
def test_a_doorbell_reports_an_absent_database_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """While the database is away a tick is one warning; the next tick tries again."""
    assert tasks.poll() == tasks.deliver() == tasks.prune() == {"database": "away"}

    said = [record for record in caplog.records if record.name == "worker.tasks"]
    assert [record.getMessage()[:40] for record in said] == ["the database is away: connection is bad:"] * 3
    assert not any(record.exc_info for record in said)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flower:
    """Flower's REST API."""

    url: str

    def send(self, name: str, **arguments: object) -> str:
        """Start a task; return the id of its message."""
        body = json.dumps({"kwargs": arguments}).encode()
        answer = self._ask(f"/task/send-task/{name}", body=body)
        return str(answer["task-id"])

    def hears_events(self) -> None:
        """Wait until Flower has seen the worker's heartbeat, which comes every 2 s."""
        self._wait(lambda: any(self._ask("/workers?status=1").values()), what="a worker")

    def shown(self, message_id: str, *, state: str) -> dict[str, Any]:
        """Return what Flower shows of a task once it is in `state`; it hears of it by an event."""
        self._wait(
            lambda: self._ask(f"/task/info/{message_id}")["state"] == state, what=f"{message_id} as {state}"
        )
        return self._ask(f"/task/info/{message_id}")

    def _wait(self, ready: Callable[[], bool], *, what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with suppress(urllib.error.HTTPError):  # not heard of yet
                if ready():
                    return
            time.sleep(0.05)  # Flower has nothing to wait on
        pytest.fail(f"Flower never showed {what}")

    def _ask(self, path: str, *, body: bytes | None = None) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + path, data=body, timeout=PATIENCE_S) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """A database behind a link to its server's socket folder, which is not there yet."""

    real: Path
    link: Path
    settings: dict[str, str]
    broker_url: str
    folder: Path

    def come_back(self) -> None:
        """Let the server be reached."""
        self.link.symlink_to(self.real)

    def worker(self) -> AbstractContextManager[Program]:
        """Start a worker."""
        return running("worker", "--without-mingle", settings=self.settings, folder=self.folder)

    def broker(self) -> redis.Redis:
        """Return a client of the broker."""
        return redis.Redis.from_url(self.broker_url)


def test_a_shutdown_wakes_both_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that sleeps until something is due sees the stop at once, and not at its next look."""
    told = threading.Event()
    seen: list[tuple[str, bool]] = []
    poller = SimpleNamespace(wake=lambda: seen.append(("poller", told.is_set())))
    dispatcher = SimpleNamespace(wake=lambda: seen.append(("dispatcher", told.is_set())))
    monkeypatch.setattr(process, "stopping", told)
    monkeypatch.setattr(process, "_runtime", SimpleNamespace(poller=poller, dispatcher=dispatcher))
    worker_shutting_down.send(sender="worker")
    assert seen == [("poller", True), ("dispatcher", True)]


def test_deliveries_wait_for_what_the_poller_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of `suno.deliver` stays awake while its process expects an answer of a gateway."""
    configured_app()
    poller = SimpleNamespace(expects_answers=lambda: True)
    dispatcher = SimpleNamespace(run=lambda **terms: {"awaited": terms.get("awaited")})
    opened = SimpleNamespace(poller=poller, dispatcher=dispatcher, make_gateways_known=lambda: None)
    monkeypatch.setattr(process, "_runtime", opened)

    assert tasks.deliver() == {"awaited": poller.expects_answers}
