"""One measured process that empties an outbox: `python -m benchmarks.deliver …` prints JSON.

It runs the whole dispatcher: claims, limits, breaker, guard, signature, POST, verdict, attempt row, and the
log line of each attempt, as in production. With `--warm` it first works off what is due, and then makes the
rest due. With `--start-at-a-word` it waits for a line on its input before it begins.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import Engine, text

from benchmarks.bare import TIMEOUT, measured
from worker.clients.pool import Clients
from worker.clients.portal import Portal
from worker.core.addresses import Allow
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE
from worker.db.session import make_engine, make_sessions
from worker.dispatcher import Dispatcher
from worker.logs import configure
from worker.open_files import raise_own_limit

SECRET = "benchmarks-only-a-secret"  # noqa: S105 - signs nothing that matters


def deliver(*, database: str, timeout: timedelta, warm: bool, starts_at_a_word: bool) -> dict[str, float]:
    """Empty the outbox and return what it cost and when it began."""
    portal = Portal.start()
    clients = Clients.open(portal=portal, allow=Allow.parse(["127.0.0.0/8"]), webhook_timeout=timeout)
    engine = make_engine(database, by_index=True)
    dispatcher = Dispatcher(
        sessions=make_sessions(engine),
        secrets=lambda _gateway: (SECRET.encode(),),
        retry_schedule=DEFAULT_RETRY_SCHEDULE,
        timeout=timeout,
        origin_concurrency=64,
        client=clients.endpoint,
        submit=portal.submit,
    )
    never = threading.Event()
    if warm:
        dispatcher.run(stop=never, ring_successor=lambda: None)
        make_due(engine)
    if starts_at_a_word:
        engine.connect().close()  # the connection is there when the word comes
        print("ready", flush=True)
        sys.stdin.readline()
    since = time.time()
    counts: dict[str, object] = {}
    result = measured(lambda: counts.update(dispatcher.run(stop=never, ring_successor=lambda: None)))
    clients.close()
    portal.close()
    engine.dispose()
    return result | {"delivered": float(str(counts["delivered"])), "since": since, "until": time.time()}


def make_due(engine: Engine) -> None:
    """Make everything that is owed due now."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE deliveries SET next_attempt_at = now() WHERE state = 'PENDING'"))
        connection.execute(text("UPDATE origins SET next_claim_at = now()"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--warm", action="store_true")
    parser.add_argument("--start-at-a-word", action="store_true")
    parser.add_argument("--timeout", type=float, default=TIMEOUT.total_seconds())
    chosen = parser.parse_args()
    raise_own_limit()
    with chosen.log.open("a", encoding="utf-8") as log:
        configure(level="INFO", as_json=False, secrets=(SECRET,), stream=log)
        found = deliver(
            database=chosen.database,
            timeout=timedelta(seconds=chosen.timeout),
            warm=chosen.warm,
            starts_at_a_word=chosen.start_at_a_word,
        )
    print(json.dumps(found))
