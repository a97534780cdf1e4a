"""Real servers and fresh, migrated databases for every test that asks for them.

The servers start once per process of the run and only when a test needs them. The migrations run once per
kind of database; each test then gets a copy: `CREATE DATABASE … TEMPLATE` on PostgreSQL, a copied file on
SQLite.

Properties are tried with the same examples in every run, so that a change is what makes a run fail. With
HYPOTHESIS_PROFILE=long they are tried with many more, and others each time.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import settings
from sqlalchemy import Engine

from tests.polling import Bench
from tests.servers import PostgresServer, migrate, serve_postgres
from worker.clients.gateway import GatewayClient
from worker.clients.portal import Portal
from worker.db.session import Sessions, make_engine, make_sessions
from worker.embedded.valkey import launch_valkey

TEMPLATE = "migrated"
VALKEY_DATABASES = 16

numbers = itertools.count(1)

# No deadline: a busy machine is slow, which is no counterexample. No database of examples: a run is itself.
settings.register_profile("suite", deadline=None, database=None, derandomize=True)
settings.register_profile("long", deadline=None, database=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_configure() -> None:
    """Forget the settings of whoever runs the tests, and the signals that a script's background ignores."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)
    for variable in [name for name in os.environ if name.upper().startswith("WORKER_")]:
        del os.environ[variable]


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of the run's Valkey; `broker_url` gives a test its own corner of it."""
    server = launch_valkey(folder=tmp_path_factory.mktemp("valkey"))
    yield server.url
    server.stop()


@pytest.fixture
def broker_url(valkey_url: str) -> str:
    """Give the address of an empty broker."""
    url = valkey_url.removesuffix("/0") + f"/{next(numbers) % VALKEY_DATABASES}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """Give the run's PostgreSQL; `postgresql_url` gives a test a database of its own."""
    with serve_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: PostgresServer) -> PostgresServer:
    """Give the run's PostgreSQL with a migrated template database in it."""
    postgres_server.create_database(TEMPLATE)
    migrate(postgres_server.url(TEMPLATE))
    return postgres_server


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a migrated SQLite file, to be copied and never opened."""
    file = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def postgresql_url(migrated_postgres: PostgresServer) -> Iterator[str]:
    """Give the address of a fresh, migrated PostgreSQL database."""
    name = f"test_{next(numbers)}"
    migrated_postgres.create_database(name, template=TEMPLATE)
    yield migrated_postgres.url(name)
    migrated_postgres.drop_database(name)


@pytest.fixture
def sqlite_url(migrated_file: Path, tmp_path: Path) -> str:
    """Give the address of a fresh, migrated SQLite database."""
    return f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'worker.db')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Give the address of a fresh, migrated database: a test that asks for it runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Give an engine on the test's own database."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> Sessions:
    """Give the factory of sessions on the test's own database."""
    return make_sessions(engine)


@pytest.fixture
def portal() -> Iterator[Portal]:
    """Give an event loop in a thread of its own."""
    portal = Portal.start()
    yield portal
    portal.close()


@pytest.fixture
def bench(sessions: Sessions, portal: Portal) -> Bench:
    """Give a poller with nothing to do yet, on the test's own database."""
    return Bench(sessions=sessions, portal=portal)


@pytest.fixture
def real(bench: Bench) -> Iterator[Bench]:
    """Give a bench whose poller asks over HTTP."""

    async def begin() -> GatewayClient:
        return GatewayClient()

    client = bench.portal.submit(begin()).result()
    bench.real_client = client
    yield bench
    bench.portal.submit(client.close()).result()
