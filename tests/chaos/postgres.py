"""PostgreSQL restarts, fails over, has no connection left, refuses to serialise, locks, cancels.

The programs reach it through a proxy. Tasks are watched as messages, which are promises all the time, and as
rows over the same proxy, which are promises when their commit was acknowledged. What is provoked has to be
seen in a worker's log; else it is wrong.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from random import Random

import psycopg
from psycopg import sql

from tests.chaos.meddlers import meddlers
from tests.chaos.outages import Break, Outage, rounds_of, said, try_to_watch
from tests.chaos.plan import Fault, Plan
from tests.chaos.proxy import Proxy, serve_proxy
from tests.chaos.receiver import Answer
from tests.chaos.site import Site, open_site
from tests.chaos.table import Row
from tests.chaos.world import World
from tests.servers import UNPRIVILEGED, PostgresServer, start_postgres, wait_until_it_answers
from worker.db.session import Sessions, make_engine, make_sessions
from worker.embedded.children import Child
from worker.embedded.valkey import HOST

SITE = "outages"
WITHIN_S = 15.0
BUSY_EVERY_S = 0.2
LONGEST_S = 30.0  # that a deadlock or a timeout is waited for
LOCKED = ("poll_batches", "deliveries", "origins", "gateways", "suno_tasks")
DEADLOCKED = "deadlock detected"
CANCELLED = "due to statement timeout"
IMPATIENT = "-c statement_timeout=200ms"


@dataclass(slots=True, kw_only=True)
class Database:
    """The PostgreSQL of a world; `proxy` is how programs and senders reach it, `sessions` are a sender's."""

    server: PostgresServer
    child: Child
    proxy: Proxy
    sessions: Sessions
    chance: Random

    def restarted(self, site: Site, seconds: float) -> float:
        """Stop it, start it on the same data."""
        self.child.stop(first=signal.SIGINT, grace=20)
        self.busy(site, seconds)
        user = UNPRIVILEGED if os.geteuid() == 0 else None
        self.child = start_postgres(folder=self.server.folder, user=user)
        wait_until_it_answers(folder=self.server.folder, child=self.child)
        site.sessions.kw["bind"].dispose()
        return time.monotonic()

    def failed_over(self, site: Site, seconds: float) -> float:
        """End every connection at random moments and let nobody in; then another way to it is open."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.busy(site, self.chance.uniform(0, 1))
            self.proxy.cut()
        self.proxy.refuses = True
        self.proxy.cut()
        self.busy(site, seconds)
        self.proxy.refuses = False
        return time.monotonic()

    def full(self, site: Site, seconds: float) -> float:
        """Take every connection that there is."""
        with ExitStack() as stack:
            self.proxy.cut()
            with suppress(psycopg.OperationalError):
                while True:
                    stack.enter_context(self.connect())
            self.proxy.cut()
            self.busy(site, seconds)
        return time.monotonic()

    def serializable(self, site: Site, seconds: float) -> float:
        """Have every transaction isolated from every other, so that many of them fail."""
        self._isolate("serializable")
        with meddlers(self.connect, hold_s=0.05):
            self.busy(site, seconds)
        self._isolate("read committed")
        return time.monotonic()

    def deadlocked(self, site: Site, seconds: float) -> float:
        """Write rows in another order than workers do, until one of them was ended for it."""
        site.desk.decide = lambda _arrival: Answer(after_s=0.5)  # so that some are in flight at any moment
        with meddlers(self.connect, hold_s=0.3):
            self.busy_until(DEADLOCKED, site, seconds)
        site.desk.decide = lambda _arrival: Answer()
        return time.monotonic()

    def cancelled(self, site: Site, seconds: float) -> float:
        """Hold rows that workers need, until a statement of theirs was ended for its time."""
        with meddlers(self.connect, hold_s=1.0):
            self.busy_until(CANCELLED, site, seconds)
        return time.monotonic()

    def locked(self, site: Site, seconds: float) -> float:
        """Hold a transaction open that has locked every row there is."""
        with self.connect() as connection:
            for table in LOCKED:
                connection.execute(sql.SQL("SELECT 1 FROM {} FOR UPDATE").format(sql.Identifier(table)))
            self.busy(site, seconds)
            connection.rollback()
        return time.monotonic()

    def busy(self, site: Site, seconds: float) -> None:
        """Have tasks watched for so long, by either door."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            site.enqueue()
            try_to_watch(site, [site.begin()], sessions=self.sessions)
            time.sleep(min(BUSY_EVERY_S, max(0.0, end - time.monotonic())))

    def busy_until(self, words: str, site: Site, seconds: float) -> None:
        """Have tasks watched for at least so long, and until a worker has said `words`."""
        latest = time.monotonic() + LONGEST_S
        before = said(words, site.programs)
        self.busy(site, seconds)
        while said(words, site.programs) == before and time.monotonic() < latest:
            self.busy(site, BUSY_EVERY_S)

    def connect(self) -> psycopg.Connection:
        """Connect past the proxy."""
        return psycopg.connect(host=str(self.server.folder), user="postgres", dbname=SITE)

    def _isolate(self, level: str) -> None:
        with self.connect() as connection:
            statement = sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = {}")
            connection.execute(statement.format(sql.Identifier(SITE), level))
        self.proxy.cut()  # it holds for new connections


def run(world: World, plan: Plan) -> Sequence[Row]:
    """Do all of it, one after the other."""
    with opened(world, plan) as (database, site):
        beat = site.celery("beat")
        worker = site.celery("worker")
        worker.wait_for(" ready.")
        outages = (
            outage("PostgreSQL restarted", database.restarted, seconds=(10, 1)),
            outage("PostgreSQL fails over", database.failed_over, seconds=(5, 1)),
            outage("no connection left", database.full, seconds=(10, 2), seen="too many clients"),
            outage("deadlocks", database.deadlocked, seconds=(10, 2), seen=DEADLOCKED),
            outage(
                "serialisation failures", database.serializable, seconds=(10, 2), seen="could not serialize"
            ),
            outage("long transaction", database.locked, seconds=(30, 2)),
        )
        rows = [rounds_of(site, outage, plan) for outage in outages]
        worker.stop()
        site.programs[:] = [beat]
        site.settings["WORKER_DATABASE_URL"] += f"?options={IMPATIENT.replace(' ', '%20')}"
        site.celery("worker").wait_for(" ready.")
        impatient = outage("statement_timeout", database.cancelled, seconds=(10, 2), seen=CANCELLED)
        return [*rows, rounds_of(site, impatient, plan)]


def outage(name: str, strike: Break, *, seconds: tuple[float, float], seen: str = "") -> Outage:
    """Return an outage of this server."""
    return Outage(
        part="postgres",
        name=name,
        strike=strike,
        within_s=WITHIN_S,
        seconds=seconds,
        seen=seen,
        doubles=True,
    )


@contextmanager
def opened(world: World, plan: Plan) -> Iterator[tuple[Database, Site]]:
    """Give the world's PostgreSQL behind a proxy, and an installation that uses it."""
    server = world.postgres
    assert server is not None
    with ExitStack() as stack:
        proxy = stack.enter_context(serve_proxy(server.folder / ".s.PGSQL.5432"))
        url = f"postgresql+psycopg://postgres@{HOST}:{proxy.port}/{SITE}"
        site = stack.enter_context(open_site(world, name=SITE, number=0, WORKER_DATABASE_URL=url))
        engine = make_engine(url)
        stack.callback(engine.dispose)
        database = Database(
            server=server,
            child=server.child,
            proxy=proxy,
            sessions=make_sessions(engine),
            chance=plan.random(SITE),
        )
        yield database, site
        if database.child is not server.child:
            stack.callback(database.child.stop, first=signal.SIGINT, grace=20)


FAULT = Fault(
    meaning="PostgreSQL restarts, fails over, is full, deadlocks, fails to serialise, locks, cancels",
    run=run,
    rounds=5,
    minutes=15,
    short_rounds=1,
    databases=("postgresql",),
)
