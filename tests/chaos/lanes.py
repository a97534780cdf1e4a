"""One installation whose worker or Beat is killed again and again: how a round kills, and how it heals."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import redis

from tests.chaos.entries import Arrival
from tests.chaos.nursery import Nursery, Rigged
from tests.chaos.recording import end_leases
from tests.chaos.site import Site
from tests.chaos.steps import FROM_OUTSIDE, Step, Trap

WORKER_AT_RANDOM = "worker, at random"
BEAT_AT_RANDOM = "Beat, at random"
TASKS_AT_ONCE = 2
FEED_EVERY_S = 0.25
MOST_WAITING = 8
DEATH_DEADLINE_S = 60.0  # a step that is not passed within this counts as wrong
PATIENCE_S = 300.0  # the longest wait is the broker's: 180 s, and it looks every 10 s
SHORT_PATIENCE_S = 30.0
# All that a worker does at its start but to ask the others of its broker, of which there are none, for 1 s.
WORKER = ("worker", "--without-mingle", "--without-gossip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Where to kill: at which passing of a step, or after which time."""

    place: str
    passes: int
    life_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Healed:
    """What a round came to."""

    place: str
    tasks: Sequence[str]
    recovery: float
    reached: bool
    in_time: bool  # a later round heals what this one left, so the account of them all would not show it

    def faults(self) -> Iterator[str]:
        """Tell what was not as it has to be."""
        if not self.reached:
            yield f"was not reached within {DEATH_DEADLINE_S:.0f} s"
        if not self.in_time:
            yield f"had not healed after {self.recovery:.0f} s"


@dataclass(slots=True, kw_only=True)
class Lane:
    """One installation, whose worker or Beat is killed again and again."""

    site: Site
    nursery: Nursery
    short: bool
    worker: Rigged
    beat: Rigged
    reached: bool = True  # the last step that was to be passed was passed

    @classmethod
    def begin(cls, site: Site, *, nursery: Nursery, short: bool) -> Lane:
        """Start a worker and Beat."""
        worker, beat = start_worker(site, nursery), start_beat(site, nursery)
        return cls(site=site, nursery=nursery, short=short, worker=worker, beat=beat)

    def go(self, one: Round) -> Healed:
        """Kill, start anew, and wait until all has healed."""
        if one.place == BEAT_AT_RANDOM:
            tasks = self._feed(self.beat, one, life_s=one.life_s)
            killed_at = self.site.ledger.strike().end
            self.beat = start_beat(self.site, self.nursery)
        else:
            tasks = self._kill_worker(one)
            killed_at = self.site.ledger.strike().end
            if self.short:
                end_leases(self.site.sessions)
                give_back_unacknowledged(self.site.broker_url)
            self.worker = start_worker(self.site, self.nursery)
        patience = SHORT_PATIENCE_S if self.short else PATIENCE_S
        recovery = self.site.recover(tasks, since=killed_at, seconds=patience)
        return Healed(
            place=one.place,
            tasks=tasks,
            recovery=recovery,
            reached=self.reached,
            in_time=recovery < patience,
        )

    def _kill_worker(self, one: Round) -> list[str]:
        if one.place == WORKER_AT_RANDOM:
            return self._feed(self.worker, one, life_s=one.life_s)
        if one.place in FROM_OUTSIDE:
            self.site.desk.on_arrival = killer(self.worker, passes=one.passes)
        else:
            Trap.arm(trap_of(self.site), step=Step(one.place), passes=one.passes)
        tasks = self._feed(self.worker, one, life_s=DEATH_DEADLINE_S)
        trap_of(self.site).unlink(missing_ok=True)
        self.site.desk.on_arrival = lambda _arrival: None
        return tasks

    def _feed(self, victim: Rigged, one: Round, *, life_s: float) -> list[str]:
        """Enqueue until the victim is dead; kill it when its life is over.

        No more than `MOST_WAITING` tasks wait for their result: intake alone must not fill the machine.
        """
        end = time.monotonic() + life_s
        tasks = self.site.enqueue(TASKS_AT_ONCE)
        while victim.wait(seconds=min(FEED_EVERY_S, max(0.0, end - time.monotonic()))) is None:
            if time.monotonic() >= end:
                victim.kill()
                victim.wait(seconds=DEATH_DEADLINE_S)
            elif len(set(tasks) - self.site.ledger.came.keys()) < MOST_WAITING:
                tasks += self.site.enqueue(TASKS_AT_ONCE)
        self.reached = life_s < DEATH_DEADLINE_S or time.monotonic() < end
        if victim.status != -signal.SIGKILL:
            raise RuntimeError(f"{one.place}: ended with status {victim.status}")
        return tasks


def trap_of(site: Site) -> Path:
    """Return the file that arms the traps of an installation's workers."""
    return site.folder / "trap"


def start_worker(site: Site, nursery: Nursery) -> Rigged:
    """Start a worker with a trap that is not armed."""
    return nursery.start(*WORKER, settings=site.settings, folder=site.folder, trap=trap_of(site))


def start_beat(site: Site, nursery: Nursery) -> Rigged:
    """Start Beat."""
    return nursery.start("beat", settings=site.settings, folder=site.folder)


def killer(victim: Rigged, *, passes: int) -> Callable[[Arrival], None]:
    """Return what kills when so many POSTs have come whole."""
    left = count(1 - passes)

    def kill(_arrival: Arrival) -> None:
        if next(left) == 0:
            victim.kill()

    return kill


def give_back_unacknowledged(broker_url: str) -> None:
    """Have the messages that a dead worker held be older than 180 s."""
    with redis.Redis.from_url(broker_url) as client:
        for tag in client.zrange("unacked_index", 0, -1):
            client.zincrby("unacked_index", -1_000, tag)
