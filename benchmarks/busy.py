"""What memory a worker holds at work: the most tasks pending, every slot taken by a receiver that hangs."""

from __future__ import annotations

import threading
import time

from sqlalchemy import Connection, Engine, text

from benchmarks.accounting import medians, memory_mib
from benchmarks.deliveries import fill as fill_outbox
from benchmarks.fill import fill as fill_pending
from benchmarks.programs import peer
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage, stage
from benchmarks.wire import ask
from worker.clients.endpoint import READ
from worker.db.session import make_engine
from worker.dispatcher import SLOTS

HANGING = 256  # four each would fill all slots: the limits of receivers that hang are no matter here
PATIENCE_S = 60.0
SLACK_S = 1.0
HELD = "SELECT count(*) FROM deliveries WHERE leased_until > now()"
# As if no worker had ever run: what the last round's leased is due, and its receivers are known and well.
ANEW = (
    "UPDATE deliveries SET leased_until = NULL, next_attempt_at = now() WHERE leased_until IS NOT NULL",
    "UPDATE origins SET concurrency = 64, failures = 0, openings = 0, open_until = NULL",
    "UPDATE origins SET delivered_at = now(), next_claim_at = now()",
)


def busy(sizes: Sizes) -> dict[str, float]:
    """Return the memory of one worker while as many deliveries are in flight as it has slots."""
    with (
        stage() as set_up,
        peer("gateway", "--latency=0.05") as (gateway,),
        peer("receiver", f"--hosts={HANGING}", f"--hanging={HANGING}") as ports,
        set_up.database() as database,
    ):
        engine = make_engine(database)
        fill_pending(engine, pending=sizes.pending[-1], plain=False)
        fill_outbox(database, ports=ports, count=4 * SLOTS, known=True, due=True, beside=True)
        found = [
            held(set_up, engine=engine, database=database, gateway=gateway, receiver=ports[-1])
            for _ in range(sizes.rounds)
        ]
        engine.dispose()
    return {"rounds": len(found), "busy_pending": sizes.pending[-1], **medians(found)}


def held(set_up: Stage, *, engine: Engine, database: str, gateway: int, receiver: int) -> dict[str, float]:
    """Return what the one worker holds once all its slots are taken."""
    ask(receiver, "/forget")
    with engine.begin() as connection:
        for statement in ANEW:
            connection.execute(text(statement))
    settings = set_up.settings(database=database, gateway=gateway) | {"WORKER_WEBHOOK_TIMEOUT": "60"}
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        set_up.worker_and_beat(settings, as_up_does=True, grace=0) as roots,
    ):
        wait_until_full(connection, receiver=receiver)
        memory = memory_mib(roots["worker"])
        in_flight = int(connection.scalar(text(HELD)) or 0)
    assert in_flight == SLOTS, f"{in_flight} in flight; the receivers should hold {SLOTS}"
    return {"busy_worker_in_flight": in_flight, "busy_worker_memory_mib": memory}


def wait_until_full(connection: Connection, *, receiver: int) -> None:
    """Return once every slot is taken, and each one's request is at a receiver.

    The first ones must still wait when the last has come: none is held for longer than a silence may last.
    """
    end = time.monotonic() + PATIENCE_S
    while not hung(receiver):
        assert time.monotonic() < end, "no request came"
        threading.Event().wait(0.1)
    end = time.monotonic() + READ.total_seconds() - SLACK_S
    while min(int(connection.scalar(text(HELD)) or 0), hung(receiver)) < SLOTS:
        assert time.monotonic() < end, f"not all of {SLOTS} slots were taken at the same time"
        threading.Event().wait(0.1)


def hung(receiver: int) -> int:
    """Return how many requests the receivers have taken and do not answer."""
    return sum(int(str(count)) for count in ask(receiver, "/hung").values())
