from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from celery import Celery

from tests.clients.peers import OK, Peer, answering
from tests.factory import add_delivery, add_gateway
from tests.programs import NO_GATEWAY, running, running_program
from worker.cli.up import WORKER
from worker.clients.idle import MOST_IDLE
from worker.clients.names import MOST_ADDRESSES
from worker.clients.portal import Portal
from worker.db.session import POOL_SIZE, Sessions
from worker.dispatcher import SLOTS
from worker.open_files import NEEDED, TOO_FEW, raise_own_limit

ENOUGH = 2 * NEEDED
MOST_OF_SELECT = 1_024
CELERY = (sys.executable, "-m", "celery", "-A", "worker", "worker")
# A process of its own: a hard limit that is lowered stays so.
LIMITED = """
import resource, sys
from worker.open_files import raise_own_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(raise_own_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""
# Celery as always, in a process whose every file from now on is beyond what select() can name.
CROWDED = f"""
import os, resource, sys
from celery.__main__ import main
resource.setrlimit(resource.RLIMIT_NOFILE, ({ENOUGH}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
crowd = [os.open(os.devnull, os.O_RDONLY) for _ in range({MOST_OF_SELECT})]
sys.argv[0] = "celery"
main()
"""


def test_all_that_a_worker_may_have_open_is_counted() -> None:
    """Each POST's addresses, three pools, three files for a connection to SQLite; 200 for the rest."""
    assert MOST_ADDRESSES * SLOTS + 3 * MOST_IDLE + 3 * POOL_SIZE + 200 <= NEEDED


@pytest.mark.parametrize(
    ("soft", "hard", "said", "soft_then"),
    [
        pytest.param(256, ENOUGH, None, NEEDED, id="raised"),
        pytest.param(256, NEEDED, None, NEEDED, id="raised to the hard one"),
        pytest.param(NEEDED + 1, ENOUGH, None, NEEDED + 1, id="high enough"),
        pytest.param(256, 600, 600, 600, id="as far as may be"),
        pytest.param(600, 600, 600, 600, id="no further"),
    ],
)
def test_the_soft_limit_is_raised(soft: int, hard: int, said: int | None, soft_then: int) -> None:
    """It is raised to what is needed or may be had, never lowered; the hard one stays; too little is said."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(soft), str(hard)], capture_output=True, text=True, check=True
    )

    assert done.stdout == f"{said} {soft_then} {hard}\n"


@pytest.mark.parametrize(
    ("soft", "hard", "asked"),
    [
        (256, resource.RLIM_INFINITY, [(NEEDED, resource.RLIM_INFINITY)]),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, []),
    ],
)
def test_no_limit_is_enough(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, asked: list[tuple[int, int]]
) -> None:
    """Without a hard limit as many as are needed are allowed; without a soft one nothing is to be done."""
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits))

    assert raise_own_limit() is None
    assert calls == asked


@pytest.mark.parametrize("refusal", [ValueError, PermissionError])
def test_a_kernel_may_refuse(monkeypatch: pytest.MonkeyPatch, refusal: type[Exception]) -> None:
    """Then the limit stays as it is, and is too low."""

    def refuse(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, ENOUGH))
    monkeypatch.setattr(resource, "setrlimit", refuse)

    assert raise_own_limit() == 256


@pytest.mark.parametrize(
    ("limit", "command", "soft", "warnings"),
    [
        pytest.param("ulimit -S -n 256", CELERY, NEEDED, 0, id="by Celery's command"),
        pytest.param("ulimit -S -n 256", WORKER, NEEDED, 0, id="by `up`"),
        pytest.param("ulimit -n 600", CELERY, 600, 1, id="with a low hard limit"),
    ],
)
def test_a_worker_raises_its_limit_at_its_start(
    limit: str,
    command: Sequence[str],
    soft: int,
    warnings: int,
    sqlite_url: str,
    broker_url: str,
    tmp_path: Path,
) -> None:
    """However it is started; one that may not have enough says so once, and works."""
    settings = {**NO_GATEWAY, "WORKER_DATABASE_URL": sqlite_url, "WORKER_BROKER_URL": broker_url}
    limited = ["sh", "-c", f'{limit} && exec "$@"', "sh", *command]
    with running_program(limited, settings=settings, folder=tmp_path) as worker:
        said = worker.wait_for(" ready.")
        found = soft_limit(worker.child.process.pid)

    assert found == soft
    assert said.count(f"WARNING worker.process {TOO_FEW % (soft, NEEDED)}") == warnings
    assert said.count("files open") == warnings


@pytest.fixture
def receiver(portal: Portal) -> Iterator[Peer]:
    """Give a receiver that accepts what comes."""
    serving = answering(OK)
    yield portal.submit(serving.__aenter__()).result()
    portal.submit(serving.__aexit__(None, None, None)).result()


def test_a_worker_delivers_over_sockets_that_select_cannot_name(
    sessions: Sessions, database_url: str, broker_url: str, receiver: Peer, tmp_path: Path
) -> None:
    """Broker, database, event loops and receivers: all of them work with descriptors beyond 1,024."""
    settings = {
        **NO_GATEWAY,
        "WORKER_DATABASE_URL": database_url,
        "WORKER_BROKER_URL": broker_url,
        "WORKER_WEBHOOK_ALLOW": "127.0.0.0/8",
    }
    origin = f"http://127.0.0.1:{receiver.port}"
    with sessions.begin() as session:
        add_gateway(session)
        add_delivery(session, notify_hook=f"{origin}/hook", origin=origin, next_attempt_at=datetime.now(UTC))
    with (
        running("worker", settings=settings, folder=tmp_path, celery=("-c", CROWDED)) as worker,
        closing(Celery(broker=broker_url)) as sender,
    ):
        worker.wait_for(" ready.")
        sender.send_task("suno.deliver", queue="deliver")
        worker.wait_for("verdict=delivered")
        used = sockets(worker.child.process.pid)

    assert receiver.accepts == 1
    assert min(used) > MOST_OF_SELECT


def soft_limit(pid: int) -> int:
    """Return how many files a process may have open."""
    (line,) = (
        line
        for line in Path(f"/proc/{pid}/limits").read_text().splitlines()
        if line.startswith("Max open files")
    )
    return int(line.split()[3])


def sockets(pid: int) -> list[int]:
    """Return the descriptors of a process that are sockets."""
    return [
        int(file.name)
        for file in Path(f"/proc/{pid}/fd").iterdir()
        if str(file.readlink()).startswith("socket:")
    ]
