"""Clocks are set by an hour while all runs, and the clocks of two workers and Beat are 30 s apart.

Every program has a wall clock of its own (`set_clock`); the database server and the broker keep theirs. On
SQLite there is one machine, so all programs' clocks are set together and nobody else writes; the receiver,
whose clock is right, is told not to mind signatures of another hour.

Every third result is refused once with a 500, so that retries wait while the clock is set. Wrong is

- a stall: what was enqueued before and after took longer than `WITHIN_S` from the moment the clock was set,
- an early retry: one less than `RETRY_S` after the answer before it,
- a storm: more than `MOST_REQUESTS` requests to the gateway in a second,
- a worker that never asked the gateway.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tests.chaos.entries import Arrival
from tests.chaos.outages import said
from tests.chaos.plan import Fault, Plan
from tests.chaos.programs import Program
from tests.chaos.receiver import Answer
from tests.chaos.set_clock import LOOK_EVERY_S
from tests.chaos.site import Site, open_site
from tests.chaos.table import Row, row
from tests.chaos.world import World
from worker.sandbox.verification import Verifier

HOUR_S = 3600.0
APART_S = 30.0
RETRY_S = 3.0
SETTINGS = {"WORKER_WEBHOOK_RETRY_SCHEDULE": ",".join([f"{RETRY_S:g}"] * 10)}
WITHIN_S = 15.0
LIMIT_S = 60.0  # after it, what has not come is lost; far less than an hour
TASKS = 12  # enqueued before a clock is set, and half as many after
LONGEST_SONG_S = 1.0
ASKED = "SUBMITTED -> "  # in a worker's log
SIGNED_AT_ANOTHER_HOUR = ("Message timestamp too new", "Message timestamp too old")
MOST_REQUESTS = 20  # to the gateway in a second; 4 at once, each takes some milliseconds


def run(world: World, plan: Plan) -> Sequence[Row]:
    """Set the clocks; on PostgreSQL, let them also differ."""
    with open_site(world, name="clock", number=0, **SETTINGS) as site:
        site.desk.decide = refuse_some
        world.receiver.verify = any_hour(world.receiver.verify)
        if world.postgres is None:
            names = {"worker": 0.0, "beat": 0.0}
        else:  # each machine has its clock; Beat's is between the two
            names = {"worker -n early@%h": APART_S / 2, "worker -n late@%h": -APART_S / 2, "beat": 0.0}
        programs = [start(site, *name.split(), ahead_s=ahead) for name, ahead in names.items()]
        for program in programs[:-1]:
            program.wait_for(" ready.")
        rows = [rounds(site, plan, apart=names)] if world.postgres is not None else []
        return [*rows, rounds(site, plan, apart=dict.fromkeys(names, 0.0), by_s=HOUR_S)]


def start(site: Site, *arguments: str, ahead_s: float) -> Program:
    """Start a program whose clock can be set."""
    file = site.folder / f"clock-{len(site.programs)}"
    file.write_text(f"{ahead_s}\n")
    return site.module("tests.chaos.set_clock", str(file), "-A", "worker", *arguments)


def rounds(site: Site, plan: Plan, *, apart: dict[str, float], by_s: float = 0.0) -> Row:
    """Enqueue, set the clocks forward, enqueue, set them back, enqueue; as often as planned."""
    chance = plan.random("clock", by_s)
    recoveries: list[float] = []
    tasks: list[str] = []
    asked_before = len(site.world.gateway.requests)
    done = 0
    while not plan.is_over(done=done):
        for step in dict.fromkeys((by_s, 0.0)):
            mine = [site.begin(lasts=chance.uniform(0, LONGEST_SONG_S)) for _ in range(TASKS)]
            for task_id in mine:
                site.send(task_id)
            time.sleep(chance.uniform(0.5, 2))
            for number, ahead_s in enumerate(apart.values()):
                (site.folder / f"clock-{number}").write_text(f"{ahead_s + step}\n")
            at = time.monotonic()
            time.sleep(2 * LOOK_EVERY_S)
            mine += site.enqueue(TASKS // 2)
            recoveries.append(site.recover(mine, since=at, seconds=LIMIT_S))
            tasks += mine
        done += 1
    tasks += until_all_asked(site)
    made = row(
        site.account(of=tasks),
        name="clock",
        fault="clock set by 1 h" if by_s else "clocks 30 s apart",
        database=site.world.database,
        recoveries=recoveries,
    )
    workers = site.programs[:-1]
    wrong = [
        *(f"a stall of {took:.1f} s" for took in recoveries if not plan.allows(took, within_s=WITHIN_S)),
        *early(site.ledger.arrivals),
        *storms(site, asked_before=asked_before),
        *(
            f"{one.log.name} {fault}"
            for one in site.programs
            for fault, is_so in (
                ("ended", one.child.ended() is not None),
                ("has tracebacks", said("Traceback", [one])),
                ("never asked the gateway", one in workers and not said(ASKED, [one])),
            )
            if is_so
        ),
    ]
    return replace(made, wrong=(*made.wrong, *wrong))


def until_all_asked(site: Site) -> list[str]:
    """Go on enqueueing until every worker has asked the gateway about something."""
    tasks: list[str] = []
    latest = time.monotonic() + LIMIT_S
    while not all(said(ASKED, [one]) for one in site.programs[:-1]) and time.monotonic() < latest:
        tasks += site.enqueue()
        site.recover(tasks, since=time.monotonic(), seconds=LIMIT_S)
    return tasks


def refuse_some(arrival: Arrival) -> Answer:
    """Refuse the first attempt of every third task."""
    is_third = int(arrival.task_id.rpartition("-")[2]) % 3 == 0
    return Answer(status=500 if is_third and arrival.attempt == 1 else 200)


def any_hour(verify: Verifier) -> Verifier:
    """Return a verifier that does not mind when something was signed."""

    def judge(body: bytes, headers: Mapping[str, str]) -> str | None:
        problem = verify(body, headers)
        return None if problem in SIGNED_AT_ANOTHER_HOUR else problem

    return judge


def early(arrivals: Sequence[Arrival]) -> list[str]:
    """Name the retries that came before their wait was over."""
    return [
        f"{later.task_id}: attempt {later.attempt} came {later.at - before.at:.1f} s after a 500"
        for before, later in in_pairs(arrivals)
        if before.answer == 500 and later.at - before.at < RETRY_S
    ]


def in_pairs(arrivals: Sequence[Arrival]) -> Iterator[tuple[Arrival, Arrival]]:
    """Give each arrival with the one of the same task before it."""
    last: dict[str, Arrival] = {}
    for arrival in arrivals:
        if arrival.task_id in last:
            yield last[arrival.task_id], arrival
        last[arrival.task_id] = arrival


def storms(site: Site, *, asked_before: int) -> list[str]:
    """Name the seconds in which the gateway was asked too often."""
    seconds = Counter(int(seen.at.timestamp()) for seen in list(site.world.gateway.requests)[asked_before:])
    return [
        f"a storm of {number} requests in a second" for number in seconds.values() if number > MOST_REQUESTS
    ]


FAULT = Fault(
    meaning="clocks are set forward and back by 1 h; workers' clocks are 30 s apart",
    run=run,
    rounds=10,
    minutes=10,
    short_rounds=1,
)
