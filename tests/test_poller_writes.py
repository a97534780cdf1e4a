"""What a poll writes, by the database's own counters."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
from sqlalchemy import Connection, Engine, event, text

from tests.factory import add_batch, add_gateway, add_task
from tests.sweeps import INTERVAL, LIMITS, WELL, Sweeps
from worker.clients.gateway import GatewayTarget
from worker.clients.portal import Portal
from worker.core.lifecycle import Action
from worker.core.wire import Good, Reply
from worker.db.clock import read_now
from worker.db.session import Sessions
from worker.poller import Poller

COUNTERS = {
    "sqlite": "SELECT 'rows', total_changes()",
    "postgresql": "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_xact_user_tables",
}


class Unchanging:
    """A gateway client that has nothing new to say."""

    async def fetch(
        self, target: GatewayTarget, *, action: Action, task_ids: Sequence[str]
    ) -> AsyncIterator[tuple[tuple[str, ...], Reply]]:
        """Answer that all are queued."""
        del target, action
        yield tuple(task_ids), Good(observations=dict.fromkeys(task_ids, WELL))


@pytest.fixture
def portal() -> Iterator[Portal]:
    """Give an event loop in a thread of its own."""
    portal = Portal.start()
    yield portal
    portal.close()


def count_writes(engine: Engine) -> Counter[str]:
    """Count the rows that transactions write from now on: of each table on PostgreSQL, of all on SQLite."""
    written: Counter[str] = Counter()
    seen: dict[int, Counter[str]] = {}  # at the begin of the transaction, by connection

    def read(connection: Connection) -> Counter[str]:
        cursor = connection.connection.cursor()  # the driver's own: no event comes of it
        cursor.execute(COUNTERS[engine.dialect.name])
        return Counter(dict(cursor.fetchall()))

    def begin(connection: Connection) -> None:
        seen[id(connection.connection.driver_connection)] = read(connection)

    def commit(connection: Connection) -> None:
        written.update(read(connection) - seen[id(connection.connection.driver_connection)])

    event.listen(engine, "begin", begin)
    event.listen(engine, "commit", commit)
    return written


def test_an_unchanged_answer_writes_no_task(sessions: Sessions, engine: Engine, portal: Portal) -> None:
    """A poll of 100 tasks writes their batch twice, by its claim and by its record, and nothing else."""
    with sessions.begin() as session:
        add_gateway(session)
        now = read_now(session)
        batch_id = add_batch(session, next_poll_at=now, youngest_at=now)
        for _ in range(100):
            add_task(session, poll_batch_id=batch_id, enqueued_at=now, upstream_status="queued")
    poller = Poller(
        sessions=sessions,
        polled={"hub": Sweeps(sessions=sessions).gateway},
        limits=LIMITS,
        poll_interval=INTERVAL,
        client=Unchanging(),
        submit=portal.submit,
        ring_deliver=lambda: None,
    )
    written = count_writes(engine)
    assert poller.run(stop=threading.Event(), ring_successor=lambda: None)["polled"] == 100
    sqlite = engine.dialect.name == "sqlite"
    assert written == {"rows" if sqlite else "poll_batches": 2}
    with sessions.begin() as session:
        session.execute(text("UPDATE suno_tasks SET progress = 10"))
    assert written[("rows" if sqlite else "suno_tasks")] == (102 if sqlite else 100)
