"""What a scenario plays on: PostgreSQL, Valkey, simulated peers and our programs, each its own process.

All of it listens on loopback or a socket in a temporary folder, and ends with the scenario.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from sqlalchemy import text

from tests.servers import PostgresServer, serve_postgres
from worker.cli.up import BEAT, WORKER
from worker.db.migrate import upgrade
from worker.db.session import make_engine
from worker.embedded.children import Child, spawn
from worker.embedded.valkey import EmbeddedValkey, launch_valkey

PATIENCE_S = 60.0
TEMPLATE = "migrated"
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The servers that both halves of a comparison use."""

    postgres: PostgresServer
    valkey: EmbeddedValkey
    folder: Path

    @property
    def roots(self) -> dict[str, int]:
        """The servers' processes, for a meter."""
        return {"database": self.postgres.child.process.pid, "broker": self.valkey.child.process.pid}

    def settings(self, *, database: str, gateway: int = 9, interval: float = 10) -> dict[str, str]:
        """Return the environment of our programs: one gateway, and receivers on loopback allowed."""
        return {
            "WORKER_DATABASE_URL": database,
            "WORKER_BROKER_URL": self.valkey.url,
            "WORKER_GATEWAYS__HUB__BASE_URL": f"http://127.0.0.1:{gateway}",
            "WORKER_GATEWAYS__HUB__API_KEY": "sk-benchmarks",
            "WORKER_WEBHOOK_SECRET": "whsec_YmVuY2htYXJrcy1vbmx5LWEtc2VjcmV0",
            "WORKER_WEBHOOK_ALLOW": "127.0.0.0/8",
            "WORKER_POLL_INTERVAL": f"{interval:g}",
            "WORKER_FIRST_POLL_DELAY": f"{interval:g}",
        }

    @contextmanager
    def database(self, name: str = "bench", *, template: str = TEMPLATE) -> Iterator[str]:
        """Give the URL of a fresh, migrated database; it goes when the block ends."""
        self.postgres.create_database(name, template=template)
        try:
            yield self.postgres.url(name)
        finally:
            self.postgres.drop_database(name)

    @contextmanager
    def worker_and_beat(
        self, settings: Mapping[str, str], *, as_up_does: bool = False
    ) -> Iterator[dict[str, int]]:
        """Run one worker process and Beat, by Celery's command or as `up` starts them; give their ids."""
        celery = [sys.executable, "-m", "celery", "-A", "worker"]
        programs = (WORKER, BEAT) if as_up_does else ([*celery, "worker"], [*celery, "beat"])
        with (
            running(programs[0], settings=settings, log=self.folder / "worker.log") as worker,
            running(programs[1], settings=settings, log=self.folder / "beat.log", ready="") as beat,
        ):
            wait_for_first_tick(settings["WORKER_DATABASE_URL"])
            yield {"worker": worker.process.pid, "beat": beat.process.pid}


def wait_for_first_tick(database: str) -> None:
    """Return when a worker has heard Beat: its first tick gives each configured gateway its row."""
    engine = make_engine(database)
    end = time.monotonic() + PATIENCE_S
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(text("SELECT count(*) FROM gateways")):
            if time.monotonic() > end:
                raise RuntimeError(f"no tick of Beat came within {PATIENCE_S:.0f} s")
            Event().wait(0.05)
    engine.dispose()


@contextmanager
def stage() -> Iterator[Stage]:
    """Set up the servers and a migrated template."""
    with TemporaryDirectory(prefix="suno-worker-bench-") as name, serve_postgres() as postgres:
        folder = Path(name)
        valkey = launch_valkey(folder=folder / "valkey")
        try:
            postgres.create_database(TEMPLATE)
            engine = make_engine(postgres.url(TEMPLATE))
            upgrade(engine)
            engine.dispose()
            yield Stage(postgres=postgres, valkey=valkey, folder=folder)
        finally:
            valkey.stop()


@contextmanager
def running(
    command: Sequence[str | Path], *, settings: Mapping[str, str], log: Path, ready: str = " ready."
) -> Iterator[Child]:
    """Run a program that writes to `log`, from the moment at which it says `ready`; SIGTERM ends it."""
    with log.open("wb") as output:
        child = spawn(command, environment={**os.environ, **settings}, folder=ROOT, output=output)
    try:
        end = time.monotonic() + PATIENCE_S
        while ready not in log.read_text(errors="replace"):
            if child.ended() is not None or time.monotonic() > end:
                raise RuntimeError(f"{command} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            Event().wait(0.02)
        yield child
    finally:
        child.stop(grace=30)


@contextmanager
def peer(module: str, *options: str) -> Iterator[list[int]]:
    """Run a simulated peer and give its ports."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    far_end, near_end = os.pipe()
    with os.fdopen(far_end, encoding="utf-8") as said:
        try:
            child = spawn(command, folder=ROOT, output=near_end)
        finally:
            os.close(near_end)
        try:
            yield json.loads(said.readline())
        finally:
            child.stop(grace=0)


def measure(module: str, *arguments: str) -> dict[str, float]:
    """Run a measured process to its end and return what it printed."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return dict(json.loads(done.stdout.splitlines()[-1]))
