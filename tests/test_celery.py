from __future__ import annotations

import inspect
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
import time_machine
from celery import Celery
from celery.beat import ScheduleEntry

from tests.configuration import BROKER_URL, configured_app
from tests.programs import running
from worker import tasks
from worker.beat import PunctualScheduler
from worker.celery import QUEUES, ROUTES
from worker.embedded.folder import hold
from worker.settings import LEAST_RETENTION
from worker.stale_rings import RINGS


@pytest.fixture(scope="module")
def configured() -> Celery:
    """Give the app with all its tasks."""
    return configured_app()


def ours(app: Celery) -> set[str]:
    """Return the names of our own tasks."""
    return {name for name in app.tasks if not name.startswith("celery.")}


def test_tasks_have_the_names_that_others_rely_on(configured: Celery) -> None:
    """The four names are public: other services, Flower and dashboards use them."""
    assert ours(configured) == {"suno.enqueue", "suno.poll", "suno.deliver", "suno.prune"}


def test_every_task_has_a_queue_that_a_worker_reads(configured: Celery) -> None:
    """Each task is routed to one of the three queues, and a plain worker reads exactly those."""
    assert set(ROUTES) == ours(configured)
    assert set(ROUTES.values()) == set(QUEUES) == set(configured.amqp.queues)
    assert all(configured.amqp.queues[name].routing_key == name for name in QUEUES)
    assert all(configured.amqp.queues[name].exchange.name == name for name in QUEUES)


def test_a_message_that_comes_again_finds_the_row_of_its_task(configured: Celery) -> None:
    """No retention ends before a dead worker's message went to another: it would begin its task anew."""
    broker = configured.conf.broker_transport_options

    assert broker["visibility_timeout"] + broker["unacked_restore_interval"] < LEAST_RETENTION


def test_beat_rings_registered_tasks_into_their_queues(configured: Celery) -> None:
    """Each entry of Beat names a task that exists, sends it where it is routed, and lets it expire."""
    entries = configured.conf.beat_schedule.values()

    assert {entry["task"] for entry in entries} == ours(configured) - {"suno.enqueue"}
    for entry in entries:
        assert entry["options"]["queue"] == ROUTES[entry["task"]]
        assert entry["options"]["expires"] >= 10


def test_the_guard_knows_every_ring(configured: Celery) -> None:
    """What Beat rings is what a worker lets expire only while others wait behind it."""
    assert {entry["task"] for entry in configured.conf.beat_schedule.values()} == RINGS


class Recording(PunctualScheduler):
    """Beat's scheduler, which notes when it would have rung `suno.deliver`."""

    producer = None  # type: ignore[assignment]  # nothing is sent

    def __init__(self, app: Celery) -> None:
        """Begin with nothing rung."""
        self.rung: list[float] = []
        super().__init__(app=app)

    def apply_async(self, entry: ScheduleEntry, *_: object, **__: object) -> None:
        """Note the moment."""
        if entry.task == "suno.deliver":
            self.rung.append(time.monotonic())


def test_beat_sleeps_until_it_rings(configured: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rings a second take a few looks at the entries; Celery's own scheduler took two hundred."""
    up_for = 0.0
    monkeypatch.setattr("worker.celery.uptime", lambda: up_for)
    beat = Recording(app=configured)

    for _ in range(60):
        up_for += max(0.0, beat.tick())

    assert len(beat.rung) >= 10
    assert up_for == pytest.approx(len(beat.rung), abs=1)


@pytest.mark.parametrize("hours", [-1, 1])
def test_beat_goes_on_when_the_clock_is_set(configured: Celery, hours: int) -> None:
    """It rings a second after its last ring: neither an hour of silence nor an hour's rings at once."""
    beat = Recording(app=configured)
    rung = beat.rung
    while not rung:
        time.sleep(max(0.0, beat.tick()))
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours), tick=True):
        while len(rung) < 2:
            wait = beat.tick()
            assert wait <= 1
            time.sleep(max(0.0, wait))
    assert 0.5 < rung[1] - rung[0] < 3


def test_no_task_is_a_coroutine(configured: Celery) -> None:
    """Celery 5.7 logs a coroutine function as succeeded and never runs it."""
    assert not any(inspect.iscoroutinefunction(configured.tasks[name].run) for name in ours(configured))


def test_only_enqueue_is_acknowledged_late_and_keeps_a_result(configured: Celery) -> None:
    """A lost request would be lost for good; a lost doorbell is not. Doorbells never store a result."""
    late = {name for name in ours(configured) if configured.tasks[name].acks_late}
    kept = {name for name in ours(configured) if not configured.tasks[name].ignore_result}

    assert late == kept == {"suno.enqueue"}
    assert configured.conf.result_expires == 3600
    assert all(isinstance(task, tasks.Doorbell) for task in (tasks.poll, tasks.deliver, tasks.prune))


def test_no_connection_waits_for_ever(configured: Celery) -> None:
    """With kombu's defaults a half-open connection hangs a worker for ever; ours all have a time limit."""
    options = configured.conf.broker_transport_options

    assert options["socket_timeout"] > 1 + options["socket_connect_timeout"]  # above BRPOP's own second
    assert options["health_check_interval"] == 5
    assert options["visibility_timeout"] > 2 * tasks.PATIENCE_S
    assert configured.conf.broker_connection_max_retries is None


def run(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `celery -A worker ARGUMENTS` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", *arguments],
        env={**os.environ, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("left_behind", [False, True], ids=["never", "ended"])
@pytest.mark.parametrize("program", ["worker", "beat", "flower"])
def test_without_a_broker_one_line_says_what_to_do(
    program: str, tmp_path: Path, *, left_behind: bool
) -> None:
    """No broker set and no embedded one running, whether there never was one or `up` has ended and left its
    files: exit code 1 and one line, no traceback.
    """
    if left_behind:
        (tmp_path / ".suno-worker").mkdir()
        (tmp_path / ".suno-worker" / "lock").write_text("4194304000\n")
        (tmp_path / ".suno-worker" / "broker-url").write_text(BROKER_URL)
    before = set(tmp_path.rglob("*"))

    ended = run(program, folder=tmp_path)

    assert ended.returncode == 1
    assert ended.stderr == (
        "WORKER_BROKER_URL: is not set, and no embedded broker is running; start one with `suno-worker up`, "
        "or set it, for example WORKER_BROKER_URL=redis://:PASSWORD@localhost:6379/0\n"
    )
    assert ended.stdout == ""
    assert set(tmp_path.rglob("*")) == before


def test_broken_settings_are_a_line_each(tmp_path: Path) -> None:
    """Several mistakes are reported together, a line for each, and the program ends with exit code 1."""
    ended = run("worker", folder=tmp_path, WORKER_POLL_INTERVAL="soon", WORKER_BROKER_URL="http://x")

    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["WORKER_BROKER_URL", "WORKER_POLL_INTERVAL"]


def test_a_broker_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """The embedded broker's file is there and cannot be read: one line says which file and what to do."""
    file = tmp_path / ".suno-worker" / "broker-url"
    file.mkdir(parents=True)

    with hold(file.with_name("lock")):
        ended = run("worker", folder=tmp_path)

    assert ended.returncode == 1
    assert ended.stderr == f"{file}: Is a directory; set WORKER_BROKER_URL, or run as its owner\n"


def test_a_worker_without_tables_ends(tmp_path: Path, broker_url: str) -> None:
    """A database that was never migrated: one line names the command that helps."""
    ended = run("worker", folder=tmp_path, WORKER_BROKER_URL=broker_url)

    assert ended.returncode == 1
    assert ended.stderr.endswith("the database lacks tables of this version; run `suno-worker migrate`\n")
    assert "Traceback" not in ended.stderr


def test_beat_rings_keeps_no_file_and_ends_when_told(
    tmp_path: Path, broker_url: str, sqlite_url: str
) -> None:
    """Beat finds the broker of a running `up`, rings each second, writes no file, and ends within a tick of
    SIGTERM, also when that comes in the middle of a publication.
    """
    folder = tmp_path / ".suno-worker"
    folder.mkdir()
    (folder / "broker-url").write_text(broker_url)
    before = set(tmp_path.iterdir())

    with (
        hold(folder / "lock"),
        running("beat", settings={"WORKER_DATABASE_URL": sqlite_url}, folder=tmp_path) as beat,
        redis.Redis.from_url(broker_url) as broker,
    ):
        for queue in ("deliver", "poll", "deliver", "poll"):  # each is here before Beat knows that it is
            assert broker.blpop([queue], timeout=30)
        beat.child.send(signal.SIGTERM)
        assert beat.child.wait(timeout=10) == 0

    assert set(tmp_path.iterdir()) == before


def test_beat_ends_while_its_broker_is_away(tmp_path: Path, sqlite_url: str) -> None:
    """SIGTERM ends a Beat that waits for its broker within seconds and with exit code 0."""
    environment = {"WORKER_DATABASE_URL": sqlite_url, "WORKER_BROKER_URL": BROKER_URL}

    with running("beat", settings=environment, folder=tmp_path) as beat:
        said = beat.wait_for("Trying again in")
        beat.child.send(signal.SIGTERM)
        assert beat.child.wait(timeout=10) == 0

    assert "a-password" not in said
