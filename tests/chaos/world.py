"""The servers that installations share: a PostgreSQL, a Valkey, a simulated gateway, a counting receiver."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

from tests.chaos.receiver import CountingReceiver
from tests.servers import PostgresServer, migrate, serve_postgres
from worker.core.signature import new_secret
from worker.embedded.valkey import EmbeddedValkey, launch_valkey
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import hosted
from worker.sandbox.verification import make_verifier

API_KEY = "sk-of-the-chaos-gateway"
TEMPLATE = "migrated"
BROKER_DATABASES = 16


def clock() -> datetime:
    """Return the moment."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that is outside of an installation. `database` is "sqlite" or "postgresql"."""

    database: str
    folder: Path
    postgres: PostgresServer | None  # None on SQLite
    valkey: EmbeddedValkey
    gateway: SandboxGateway
    gateway_url: str
    receiver: CountingReceiver
    receiver_url: str
    secret: str
    numbers: Iterator[int] = field(default_factory=count)

    def fresh_database(self, name: str) -> str:
        """Return the URL of a new, migrated database."""
        if self.postgres is None:
            return f"sqlite:///{shutil.copy(self.folder / f'{TEMPLATE}.db', self.folder / f'{name}.db')}"
        self.postgres.create_database(name, template=TEMPLATE)
        return self.postgres.url(name)

    def fresh_broker(self, number: int) -> str:
        """Return the URL of an emptied database of the Valkey; there are 16."""
        assert number < BROKER_DATABASES, "one Valkey serves 16 installations; open another world"
        url = self.valkey.url.removesuffix("/0") + f"/{number}"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return url


@contextmanager
def open_world(database: str, *, keep: Path | None = None) -> Iterator[World]:
    """Run the servers for the length of the block; what they leave is kept in `keep`, if given."""
    secret = new_secret(secrets.token_bytes(32))
    gateway = SandboxGateway(clock=clock, api_key=API_KEY, lasts=timedelta(0))
    receiver = CountingReceiver(verify=make_verifier([secret]))
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(TemporaryDirectory(prefix="suno-worker-chaos-")))
        postgres = stack.enter_context(serve_postgres()) if database == "postgresql" else None
        valkey = launch_valkey(folder=folder / "valkey")
        stack.callback(valkey.stop)
        if postgres is None:
            migrate(f"sqlite:///{folder / f'{TEMPLATE}.db'}")
        else:
            postgres.create_database(TEMPLATE)
            migrate(postgres.url(TEMPLATE))
        yield World(
            database=database,
            folder=folder,
            postgres=postgres,
            valkey=valkey,
            gateway=gateway,
            gateway_url=stack.enter_context(hosted(gateway.app())),
            receiver=receiver,
            receiver_url=stack.enter_context(hosted(receiver.app())),
            secret=secret,
        )
