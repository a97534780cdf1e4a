"""SIGKILL while the clock is set: a worker dies in mid-POST, and the next one lives by another hour.

A round kills twice: then the clock goes forward by an hour, and then back. Each worker that dies has POSTs in
flight and has just taken requests, which lie with the broker for its 180 s. On SQLite all programs' clocks
are set together, and this process writes only while they are right. Recovery is counted from the kill. Wrong
is

- a stall: more than the broker's time and `WITHIN_S`,
- a lease that was cut short: the copy of an attempt in flight at the kill came before its lease was over,
- an early retry: one less than `RETRY_S` after a 500,
- a run in which no worker held a request when it died.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import redis

from tests.chaos.account import LEASE_S
from tests.chaos.clocks import HOUR_S, RETRY_S, SETTINGS, WITHIN_S, any_hour, in_pairs, refuse_some, start
from tests.chaos.entries import Arrival
from tests.chaos.lanes import give_back_unacknowledged
from tests.chaos.outages import said
from tests.chaos.plan import Fault, Plan
from tests.chaos.programs import Program
from tests.chaos.receiver import Answer
from tests.chaos.recording import end_leases
from tests.chaos.site import Site, open_site
from tests.chaos.table import Row, row
from tests.chaos.world import World

TASKS = 12
MOST_PASSES = 6
SLOW_ANSWER_S = 0.5  # so that POSTs are in flight
GIVEN_BACK_S = 190.0  # the broker's 180 s, and the workers look every 10 s
PATIENCE_S = 60.0
NOTE = "SIGKILL and clock, short form: leases and the broker's 180 s were ended, not waited for"


@dataclass(slots=True, kw_only=True)
class Scene:
    """An installation whose worker dies and whose clocks are set; Beat's clock goes by `beat_clock`."""

    site: Site
    short: bool
    beat_clock: Path
    worker: Program
    recoveries: list[float] = field(default_factory=list)
    held: int = 0  # requests in workers' hands when they died

    def kill(self, *, ahead_s: float, passes: int) -> None:
        """Kill, set the clock, start the next worker, and wait until all has healed."""
        tasks = self._kill_in_flight(passes=passes)
        killed_at = time.monotonic()
        if self.short and ahead_s:
            self._end_waits()
        self.beat_clock.write_text(f"{ahead_s}\n")
        if self.short and not ahead_s:
            self._end_waits()
        self.worker = start(self.site, "worker", "-n", f"w{len(self.site.programs)}@%h", ahead_s=ahead_s)
        self.recoveries.append(self.site.recover(tasks, since=killed_at, seconds=self.longest_s + PATIENCE_S))

    @property
    def longest_s(self) -> float:
        """How long healing may take, but for the work itself."""
        return 0.0 if self.short else GIVEN_BACK_S

    def _kill_in_flight(self, *, passes: int) -> list[str]:
        self.site.desk.decide = refuse_some_slowly
        come, left = threading.Event(), count(1 - passes)
        self.site.desk.on_arrival = lambda _arrival: come.set() if next(left) == 0 else None
        tasks = self.site.enqueue(TASKS)
        if not come.wait(PATIENCE_S):
            raise RuntimeError(f"{passes} POSTs never came")
        with redis.Redis.from_url(self.site.broker_url) as broker:
            while not broker.hlen("unacked"):
                tasks += self.site.enqueue()
            self.worker.kill()
            self.held += broker.hlen("unacked")
        self.site.ledger.strike()
        self.site.desk.decide = refuse_some
        return tasks

    def _end_waits(self) -> None:
        end_leases(self.site.sessions)
        give_back_unacknowledged(self.site.broker_url)


def run(world: World, plan: Plan) -> Sequence[Row]:
    """Kill and set the clock as often as planned."""
    chance = plan.random("clock-kill")
    with open_site(world, name="clockkill", number=0, **SETTINGS) as site:
        world.receiver.verify = any_hour(world.receiver.verify)
        beat_clock = site.folder / f"clock-{len(site.programs)}"
        beat = start(site, "beat", ahead_s=0.0)
        worker = start(site, "worker", ahead_s=0.0)
        scene = Scene(site=site, short=plan.short, beat_clock=beat_clock, worker=worker)
        done = 0
        while not plan.is_over(done=done):
            for ahead_s in (HOUR_S, 0.0):
                scene.kill(ahead_s=ahead_s, passes=chance.randint(1, MOST_PASSES))
            done += 1
        return [
            row(
                site.account(),
                name="clock-kill",
                fault="SIGKILL while the clock is set by 1 h",
                database=world.database,
                recoveries=scene.recoveries,
                also_wrong=[
                    *faults(scene, plan),
                    *(["Beat ended"] if beat.child.ended() is not None else []),
                ],
                note=NOTE if plan.short else "",
            )
        ]


def faults(scene: Scene, plan: Plan) -> Iterator[str]:
    """Tell what was not as it has to be."""
    for took in scene.recoveries:
        if not plan.allows(took - scene.longest_s, within_s=WITHIN_S):
            yield f"a stall of {took:.1f} s"
    for earlier, later in in_pairs(scene.site.ledger.arrivals):
        gap_s = later.at - earlier.at
        is_killed = any(earlier.at <= strike.start < later.at for strike in scene.site.ledger.strikes)
        least_s = RETRY_S if earlier.answer == 500 else LEASE_S if is_killed else 0.0
        if gap_s < least_s and not (is_killed and scene.short):
            yield f"{later.task_id}: attempt {later.attempt} came {gap_s:.1f} s after a {earlier.answer}"
    if said("Traceback", scene.site.programs):
        yield "tracebacks in the logs"
    if not scene.held:
        yield "no worker held a request when it died"


def refuse_some_slowly(arrival: Arrival) -> Answer:
    """Refuse as `refuse_some` does, and take half a second for it."""
    return Answer(status=refuse_some(arrival).status, after_s=SLOW_ANSWER_S)


FAULT = Fault(
    meaning="SIGKILL of a worker while the clock is set forward or back by 1 h",
    run=run,
    rounds=10,
    minutes=12,
    short_rounds=1,
)
