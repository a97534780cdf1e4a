"""One measured drain in a process of its own: `python -m benchmarks.deliver ours|drain …` prints JSON.

It empties the outbox of a database with the whole dispatcher: claims, limits, breaker, guard, signature,
POST, verdict, attempt row. `ours` first warms up on what is due, `drain` takes everything as it is.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from datetime import timedelta

from sqlalchemy import text

from benchmarks.bare import TIMEOUT, measured
from worker.clients.pool import Clients
from worker.clients.portal import Portal
from worker.core.addresses import Allow
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE
from worker.db.session import make_engine, make_sessions
from worker.dispatcher import Dispatcher

SECRET = b"benchmarks-only-a-secret"
HANGING_TIMEOUT = timedelta(seconds=3)  # what a receiver that hangs costs its slot


def ending_after(seconds: float | None) -> threading.Event:
    """Return an event that is set after so long: hanging receivers would keep a run going for hours."""
    stop = threading.Event()
    if seconds is not None:
        timer = threading.Timer(seconds, stop.set)
        timer.daemon = True
        timer.start()
    return stop


def ours(*, database: str, seconds: float | None, warm: bool) -> dict[str, float]:
    """Empty the outbox, or work for so long; `warm` first works off what is due, then makes the rest due."""
    portal = Portal.start()
    timeout = TIMEOUT if seconds is None else HANGING_TIMEOUT
    clients = Clients.open(portal=portal, allow=Allow.parse(["127.0.0.0/8"]), webhook_timeout=timeout)
    engine = make_engine(database)
    dispatcher = Dispatcher(
        sessions=make_sessions(engine),
        secrets=lambda _gateway: (SECRET,),
        retry_schedule=DEFAULT_RETRY_SCHEDULE,
        timeout=timeout,
        origin_concurrency=64,
        client=clients.endpoint,
        submit=portal.submit,
    )
    if warm:
        dispatcher.run(stop=ending_after(seconds), ring_successor=lambda: None)
        with engine.begin() as connection:
            connection.execute(text("UPDATE deliveries SET next_attempt_at = now() WHERE state = 'PENDING'"))
            connection.execute(text("UPDATE origins SET next_claim_at = now()"))
    stop = ending_after(seconds)
    since = time.time()
    counts: dict[str, object] = {}
    result = measured(lambda: counts.update(dispatcher.run(stop=stop, ring_successor=lambda: None)))
    clients.close()
    portal.close()
    engine.dispose()
    return result | {"delivered": float(str(counts["delivered"])), "since": since}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["ours", "drain"])
    parser.add_argument("--database", required=True)
    parser.add_argument("--seconds", type=float)
    chosen = parser.parse_args()
    print(json.dumps(ours(database=chosen.database, seconds=chosen.seconds, warm=chosen.what == "ours")))
