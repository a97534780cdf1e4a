from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import redis
from celery import Celery

from tests.cli.conftest import Cli
from tests.processes import children, command_line, running, wait_until_gone
from tests.programs import Output, Program
from worker.cli import up as verb
from worker.embedded import supervisor
from worker.embedded.children import spawn
from worker.embedded.valkey import free_port
from worker.settings import load_settings

SUNO_WORKER = Path(sys.executable).with_name("suno-worker")
WORKER_READY = " ready."
FLOWER_PASSWORD = "me:of-flower"
LISTEN = "0A"  # the state in /proc/net/tcp

# For those that share the one `up` of `running_up`: they run in one process of the test run.
together = pytest.mark.xdist_group("up")

GATEWAY = {
    "WORKER_GATEWAYS__MAIN__BASE_URL": "http://127.0.0.1:9",  # nothing listens there
    "WORKER_GATEWAYS__MAIN__API_KEY": "sk-of-the-main-gateway",
}


@contextmanager
def up(
    *options: str, folder: Path, settings: Mapping[str, str] = GATEWAY, ready: str = WORKER_READY
) -> Iterator[Program]:
    """Run `suno-worker up` in `folder` for the length of the block, which begins when `ready` was written."""
    far_end, near_end = os.pipe()
    child = spawn(
        [SUNO_WORKER, "up", *options], environment=os.environ | settings, folder=folder, output=near_end
    )
    os.close(near_end)
    output = Output()
    reader = threading.Thread(target=output.read, args=(far_end,))
    reader.start()
    try:
        program = Program(child=child, output=output)
        program.wait_for(ready)
        yield program
    finally:
        child.stop(grace=30)
        reader.join()


def call(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end in `folder`, where only `up` can tell it of a broker."""
    return subprocess.run(
        [SUNO_WORKER, *arguments],
        cwd=folder,
        env=os.environ | GATEWAY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def started_by(program: Program) -> dict[str, int]:
    """Return the process ids of the children of `up`, by what they are."""
    kinds = {
        "valkey-server": "valkey",
        "worker()": "worker",
        "beat()": "beat",
        "--quiet flower": "flower",
    }
    found = {pid: command_line(pid) for pid in children(program.child.process.pid)}
    return {kind: pid for pid, line in found.items() for words, kind in kinds.items() if words in line}


@pytest.fixture(scope="module")
def flower_port() -> int:
    """Give a port for Flower that was free a moment ago."""
    return free_port()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of `running_up`, in which a user keeps a program named like our package."""
    folder = tmp_path_factory.mktemp("up")
    (folder / "worker.py").write_text("raise SystemExit('this is not the worker you look for')")
    return folder


@pytest.fixture(scope="module")
def running_up(place: Path, flower_port: int) -> Iterator[Program]:
    """Give one `up --flower` to the tests that leave it as it is."""
    settings = GATEWAY | {"FLOWER_BASIC_AUTH": FLOWER_PASSWORD, "FLOWER_ADDRESS": "0.0.0.0"}
    with up("--flower", f"--flower-port={flower_port}", folder=place, settings=settings) as program:
        yield program


@together
def test_it_migrates_and_says_where_everything_is(running_up: Program, place: Path, flower_port: int) -> None:
    """The first lines name the database, the broker, the queues, Flower and how to enqueue, and no secret."""
    said = running_up.output.text

    assert f"SQLite file {place}/worker.db: applied 0001" in said
    assert f"Valkey on 127.0.0.1, its URL in {place}/.suno-worker/broker-url" in said
    assert "enqueue, poll, deliver" in said
    assert "suno-worker enqueue TASK_ID --action MUSIC --notify-hook https://" in said
    assert f"http://127.0.0.1:{flower_port}" in said
    assert GATEWAY["WORKER_GATEWAYS__MAIN__API_KEY"] not in said


@together
def test_the_brokers_address_is_its_owners_alone(running_up: Program, place: Path) -> None:
    """`broker-url` has mode 0600, and its password is in no argument of any process."""
    file = place / ".suno-worker" / "broker-url"
    password = file.read_text().partition("redis://:")[2].partition("@")[0]

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(password) == 43
    pids = started_by(running_up)
    assert set(pids) == {"valkey", "worker", "beat", "flower"}
    assert [kind for kind, pid in pids.items() if password in command_line(pid)] == []


@together
def test_a_second_up_is_refused(running_up: Program, place: Path) -> None:
    """A second `up` on the same database ends with exit 1 and one line that names the first."""
    second = call("up", folder=place)

    assert second.returncode == 1
    first = running_up.child.process.pid
    assert (
        second.stderr == f"Error: `suno-worker up` runs here already (process {first}): stop that one first\n"
    )
    assert second.stdout == ""


@together
def test_another_service_enqueues_through_the_brokers_address(running_up: Program, place: Path) -> None:
    """What a plain Celery client sends to the address in `broker-url` is a row soon after."""
    url = (place / ".suno-worker" / "broker-url").read_text()
    with Celery(broker=url) as service:
        service.send_task("suno.enqueue", kwargs={"task_id": "song-1", "action": "MUSIC"}, queue="enqueue")

    running_up.wait_for("song-1")

    shown = call("show", "song-1", "--json", folder=place)
    assert shown.returncode == 0, shown.stderr
    assert '"status":"SUBMITTED"' in shown.stdout


@together
def test_flower_listens_on_this_machine_alone(running_up: Program, flower_port: int) -> None:
    """`--flower` serves on loopback at the given port, and nowhere else, whatever Flower's variables say."""
    wait_until_listening(running_up, port=flower_port)

    with urllib.request.urlopen(f"http://127.0.0.1:{flower_port}/healthcheck", timeout=20) as answer:
        assert answer.status == 200
    assert listening_on(flower_port) == ["127.0.0.1"]


@together
def test_flower_knows_the_worker(running_up: Program, flower_port: int) -> None:
    """Flower's `/api/workers` names the worker with its statistics and its queues; that it looked for one
    before there was any is not told as a failure.
    """
    wait_until_listening(running_up, port=flower_port)
    url = f"http://{FLOWER_PASSWORD}@127.0.0.1:{flower_port}/api/workers?refresh=1"

    with httpx.Client(trust_env=False, timeout=20) as http:
        answers = (http.get(url).json() for _ in range(10))  # Flower waits 1 s for the worker, each time
        (known,) = next(filter(None, answers), {}).values()

    assert known["stats"]["pool"]["max-concurrency"] == 16
    assert sorted(queue["name"] for queue in known["active_queues"]) == ["deliver", "enqueue", "poll"]
    assert "Inspect method" not in running_up.output.text


def test_sigterm_ends_it_with_status_0_and_nothing_left(tmp_path: Path) -> None:
    """After SIGTERM the worker finishes, every child is gone, and `up` ends with exit 0."""
    with up(folder=tmp_path) as program:
        sessions = started_by(program)
        program.child.send(signal.SIGTERM)

        said = program.end()

    assert program.child.ended() == 0
    assert said.count("Warm shutdown") == 1
    assert {kind: running(session=pid) for kind, pid in sessions.items()} == {
        "valkey": [],
        "worker": [],
        "beat": [],
    }


def test_ctrl_c_reaches_each_program_once(tmp_path: Path) -> None:
    """SIGINT to the whole process group, as the terminal sends it, is one warm shutdown and exit 0."""
    with up(folder=tmp_path) as program:
        os.killpg(program.child.process.pid, signal.SIGINT)

        said = program.end()

    assert program.child.ended() == 0
    assert said.count("Warm shutdown") == 1
    assert "Cold shutdown" not in said


def test_sigkill_leaves_no_child_and_no_lock(tmp_path: Path) -> None:
    """After SIGKILL every child ends by itself, and the next `up` starts at once, at the same address."""
    with up(folder=tmp_path) as program:
        sessions = started_by(program)
        url = (tmp_path / ".suno-worker" / "broker-url").read_text()
        program.child.process.kill()
        program.child.wait()

        with up(folder=tmp_path):
            assert (tmp_path / ".suno-worker" / "broker-url").read_text() == url

    assert set(sessions) == {"valkey", "worker", "beat"}
    for pid in sessions.values():
        wait_until_gone(session=pid)


@pytest.mark.parametrize("kind", ["worker", "valkey"])
def test_a_program_that_dies_is_started_again(tmp_path: Path, kind: str) -> None:
    """A killed worker or broker comes back, and messages are taken again."""
    with up(folder=tmp_path) as program:
        killed = started_by(program)[kind]
        os.kill(killed, signal.SIGKILL)
        program.wait_for("ended by itself (SIGKILL)")
        url = (tmp_path / ".suno-worker" / "broker-url").read_text()

        wait_until_started(program, kind=kind)
        with Celery(broker=url) as service:
            service.send_task(
                "suno.enqueue", kwargs={"task_id": "song-2", "action": "MUSIC"}, queue="enqueue"
            )
        program.wait_for("song-2")

        assert started_by(program)[kind] != killed


def test_a_configured_broker_is_used(tmp_path: Path, broker_url: str) -> None:
    """With WORKER_BROKER_URL no Valkey is started, and no address is written down."""
    with up(folder=tmp_path, settings=GATEWAY | {"WORKER_BROKER_URL": broker_url}) as program:
        assert set(started_by(program)) == {"worker", "beat"}
        assert f"***@127.0.0.1:{broker_url.rpartition(':')[2]}" in program.output.text
        with redis.Redis.from_url(broker_url) as client:
            assert client.keys("_kombu.binding.enqueue") == [b"_kombu.binding.enqueue"]

    assert [file.name for file in (tmp_path / ".suno-worker").iterdir()] == ["lock"]


def test_wrong_settings_change_nothing(tmp_path: Path) -> None:
    """With broken settings `up` ends with exit 1 and names them, before it makes a file."""
    ended = subprocess.run(
        [SUNO_WORKER, "up"],
        cwd=tmp_path,
        env=os.environ | {"WORKER_POLL_INTERVAL": "soon"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert ended.returncode == 1
    assert ended.stderr.startswith("Error: WORKER_POLL_INTERVAL: ")
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_who_looks_for_a_running_up_does_not_keep_one_from_starting(bare_cli: Cli, folder: Path) -> None:
    """A verb that asks at this moment whether an `up` runs is waited for."""
    (folder / ".suno-worker").mkdir()
    (folder / ".suno-worker" / "valkey").write_text("in the way")
    with (folder / ".suno-worker" / "lock").open("wb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        looker = spawn(["sleep", "0.1"], hand_down=[looking.fileno()])

    outcome = bare_cli("up")

    assert outcome.stderr.startswith("Error: File exists")
    assert looker.ended() == 0


def test_a_missing_folder_is_named(bare_cli: Cli, folder: Path) -> None:
    """With the SQLite file in a folder that is not there, one line says what to do, and nothing is made."""
    outcome = bare_cli("up", env={"WORKER_DATABASE_URL": "sqlite:///data/worker.db"})

    assert outcome.exit_code == 1
    assert outcome.stderr == (
        f"Error: {folder}/data/.suno-worker: No such file or directory: create the folder {folder}/data, and "
        "make it writable for this user\n"
    )
    assert outcome.stdout == ""
    assert list(folder.iterdir()) == []


def test_a_worker_that_cannot_run_ends_up(bare_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ends four times at its start ends `up` with exit 1 and one line that says why."""
    monkeypatch.setattr(verb, "WORKER", ("sh", "-c", "exit 3"))
    monkeypatch.setattr(verb, "BEAT", ("sleep", "600"))
    monkeypatch.setattr(supervisor, "FIRST_WAIT", timedelta(milliseconds=1))

    outcome = bare_cli("up")

    assert outcome.exit_code == 1
    assert outcome.stderr == (
        "Error: the worker ended 4 times at its start (exit status 3): "
        "its own lines above say why; `suno-worker check` may say more\n"
    )
    assert outcome.stdout.count("the worker ended by itself (exit status 3)\n") == 4


def test_flower_has_to_be_installed(bare_cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, `--flower` says how to get it, before anything starts."""
    monkeypatch.setattr(verb, "find_spec", lambda _name: None)

    outcome = bare_cli("up", "--flower")

    assert outcome.exit_code == 1
    assert outcome.stderr == "Error: Flower is not installed: pip install 'suno-worker[flower]'\n"


def test_a_valkey_that_cannot_start_ends_up(bare_cli: Cli, folder: Path) -> None:
    """Without a place for the broker's data `up` ends with exit 1 and the reason."""
    (folder / ".suno-worker").mkdir()
    (folder / ".suno-worker" / "valkey").write_text("in the way")

    outcome = bare_cli("up")

    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("Error: File exists")


def test_the_grace_is_longer_than_the_longest_request() -> None:
    """What is in flight when `up` stops ends within the longest time-out of webhooks and gateways."""
    patient = load_settings(GATEWAY | {"WORKER_GATEWAYS__MAIN__TIMEOUT": "120"})

    assert verb.longest_request(load_settings({})) == timedelta(seconds=15)
    assert verb.longest_request(patient) == timedelta(seconds=120)


def wait_until_started(program: Program, *, kind: str) -> None:
    """Return when `up` has a child of that kind; fail when `up` ends first."""
    while kind not in started_by(program):
        with pytest.raises(subprocess.TimeoutExpired):
            program.child.wait(timeout=0.05)


def wait_until_listening(program: Program, *, port: int) -> None:
    """Return when a port of this machine is served; fail when `up` ends first."""
    while not listening_on(port):
        with pytest.raises(subprocess.TimeoutExpired):
            program.child.wait(timeout=0.05)


def listening_on(port: int) -> list[str]:
    """Return the IPv4 and IPv6 addresses at which a port of this machine is served."""
    served = []
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, _, local_port = local.partition(":")
            if state == LISTEN and int(local_port, 16) == port:
                words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
                served.append(socket.inet_ntop(family, b"".join(words)))
    return served
