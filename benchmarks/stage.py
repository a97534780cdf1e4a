"""What a scenario plays on: PostgreSQL, Valkey, and our programs, each its own process.

All of it listens on loopback or a socket in a temporary folder, and ends with the scenario.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event

from sqlalchemy import Engine, text

from benchmarks.programs import GRACE_S, READY, running
from tests.servers import PostgresServer, serve_postgres
from worker.cli.up import BEAT, WORKER
from worker.db.migrate import upgrade
from worker.db.session import make_engine
from worker.embedded.valkey import EmbeddedValkey, launch_valkey

# PostgreSQL's own defaults, so durable: fsync, synchronous_commit and full_page_writes are on. Only what
# keeps it to a socket, and from running out of connections, is set.
POSTGRES = {
    "listen_addresses": "",
    "max_connections": "200",
    "file_copy_method": "clone",
    "log_min_messages": "panic",
}
DURABLE = ("fsync", "synchronous_commit", "full_page_writes")
PATIENCE_S = 60.0
TEMPLATE = "migrated"


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
        self,
        settings: Mapping[str, str],
        *,
        workers: int = 1,
        as_up_does: bool = False,
        grace: float = GRACE_S,
    ) -> Iterator[dict[str, int]]:
        """Run worker processes and Beat, by Celery's command or as `up` starts them; give their process ids.

        They are called `worker`, `worker_2` and so on, and `beat`.
        """
        celery = [sys.executable, "-m", "celery", "-A", "worker"]
        worker, beat = (WORKER, BEAT) if as_up_does else ([*celery, "worker"], [*celery, "beat"])
        names = ["worker", *(f"worker_{number}" for number in range(2, workers + 1))]
        commands = dict.fromkeys(names, worker) | {"beat": beat}
        with ExitStack() as programs:
            roots = {
                name: programs.enter_context(
                    running(
                        command,
                        settings=settings,
                        log=self.folder / f"{name}.log",
                        ready="" if name == "beat" else READY,
                        grace=grace,
                    )
                ).process.pid
                for name, command in commands.items()
            }
            wait_for_first_tick(settings["WORKER_DATABASE_URL"])
            yield roots


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
    with (
        TemporaryDirectory(prefix="suno-worker-bench-") as name,
        serve_postgres(options=POSTGRES) as postgres,
    ):
        folder = Path(name)
        valkey = launch_valkey(folder=folder / "valkey")
        try:
            postgres.create_database(TEMPLATE)
            engine = make_engine(postgres.url(TEMPLATE))
            upgrade(engine)
            check_durable(engine)
            engine.dispose()
            yield Stage(postgres=postgres, valkey=valkey, folder=folder)
        finally:
            valkey.stop()


def check_durable(engine: Engine) -> None:
    """End a benchmark whose commits would not outlive a power cut."""
    with engine.connect() as connection:
        found = {name: connection.scalar(text(f"SHOW {name}")) for name in DURABLE}
    assert set(found.values()) == {"on"}, found
