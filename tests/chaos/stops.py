"""SIGTERM under full load, and a rolling restart of two workers.

A worker that is told to stop ends within the time of the longest request and its record; every POST that
came to the receiver has its attempt row then, and no row waits for a lease. While two workers are replaced
one after the other, the receiver never waits more than 2 s for the next result.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise

from sqlalchemy import func, select

from tests.chaos.feeding import feeding
from tests.chaos.plan import Fault, Plan
from tests.chaos.receiver import Answer
from tests.chaos.site import Site, open_site
from tests.chaos.table import Row, row
from tests.chaos.world import World
from worker.db.models import Attempt, Delivery, PollBatch
from worker.db.session import reading

SLOW_ANSWER_S = 0.5
IN_FLIGHT = 3  # POSTs that are to be under way when the worker is told to stop
FEED_EVERY_S = 0.05
LONGEST_STOP_S = 2 + 15.0  # the longest request here, and what `suno-worker up` grants for its record
LONGEST_GAP_S = 2.0
CALM_S = 5.0
PATIENCE_S = 120.0


def wait_until(site: Site, *, in_flight: int) -> None:
    """Return when so many POSTs wait for their answer."""
    ledger = site.ledger
    with ledger.changed:
        busy = ledger.changed.wait_for(
            lambda: sum(one.answer is None for one in ledger.arrivals) >= in_flight, timeout=PATIENCE_S
        )
    if not busy:
        raise RuntimeError(f"there were never {in_flight} POSTs in flight")


def stop_under_load(world: World, plan: Plan) -> Sequence[Row]:
    """Tell a worker to stop while POSTs are in flight; recovery is the time that it takes."""
    seconds: list[float] = []
    wrong: list[str] = []
    with open_site(world, name="stops", number=0) as site:
        site.desk.decide = lambda _arrival: Answer(after_s=SLOW_ANSWER_S)
        site.celery("beat")
        while not plan.is_over(done=len(seconds)):
            worker = site.celery("worker")
            with feeding(site.enqueue, every_s=FEED_EVERY_S):
                wait_until(site, in_flight=IN_FLIGHT)
                began = time.monotonic()
                status = worker.stop(grace=LONGEST_STOP_S)
                seconds.append(time.monotonic() - began)
            if status != 0:
                wrong.append(f"it ended with status {status} after {seconds[-1]:.1f} s")
            wrong += left_behind(site)
        site.celery("worker")
        fault = "SIGTERM under full load (until it has ended)"
        return [settled(site, name="stop", fault=fault, measured=seconds, wrong=wrong)]


def left_behind(site: Site) -> Iterator[str]:
    """Tell what a worker that has ended should have recorded."""
    with reading(site.sessions) as session:
        for model in (PollBatch, Delivery):
            leases = session.scalars(select(func.count()).where(model.leased_until.is_not(None))).one()
            if leases:
                yield f"{leases} rows of {model.__tablename__} wait for a lease"
        recorded = session.scalars(select(func.count()).select_from(Attempt)).one()
    came = len(site.ledger.arrivals)
    if recorded != came:
        yield f"{came} POSTs came, {recorded} attempts are recorded"


def roll(world: World, plan: Plan) -> Sequence[Row]:
    """Replace two workers one after the other; recovery is the longest gap between two results."""
    gaps: list[float] = []
    wrong: list[str] = []
    with open_site(world, name="roll", number=0) as site:
        workers = [site.celery("worker", "-n", f"first{number}@%h") for number in range(2)]
        site.celery("beat")
        for worker in workers:
            worker.wait_for(" ready.")
        with feeding(site.enqueue, every_s=FEED_EVERY_S):
            while not plan.is_over(done=len(gaps)):
                time.sleep(CALM_S)
                began = time.monotonic()
                for place, worker in enumerate(workers):
                    worker.stop()
                    workers[place] = site.celery("worker", "-n", f"w{len(site.programs)}@%h")
                    workers[place].wait_for(" ready.")
                gaps.append(longest_gap(site, since=began))
                if gaps[-1] > LONGEST_GAP_S:
                    wrong.append(f"no result came for {gaps[-1]:.1f} s")
        fault = "rolling restart of two workers (longest gap)"
        return [settled(site, name="roll", fault=fault, measured=gaps, wrong=wrong)]


def settled(site: Site, *, name: str, fault: str, measured: Sequence[float], wrong: Sequence[str]) -> Row:
    """Wait until all that was promised has come, and make the row."""
    site.recover(sorted(site.ledger.promised), since=time.monotonic(), seconds=PATIENCE_S)
    return row(
        site.account(),
        name=name,
        fault=fault,
        database=site.world.database,
        recoveries=measured,
        also_wrong=wrong,
    )


def longest_gap(site: Site, *, since: float) -> float:
    """Return the longest time without a result since then."""
    with site.ledger.changed:
        moments = [since, *sorted(at for at in site.ledger.came.values() if at > since), time.monotonic()]
    return max(later - earlier for earlier, later in pairwise(moments))


STOP = Fault(
    meaning="SIGTERM of a worker under full load", run=stop_under_load, rounds=20, minutes=10, short_rounds=1
)
ROLL = Fault(
    meaning="rolling restart of two workers under load", run=roll, rounds=10, minutes=10, short_rounds=0
)
