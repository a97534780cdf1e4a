"""SIGKILL of a worker at each named step, of a worker and of Beat at random moments.

Up to 16 installations stand beside each other, each with its own database, broker, worker and Beat, so that
many rounds wait out their leases at the same time. A round: the worker dies while tasks come in, and the next
one heals what it left behind. Recovery is counted from the kill until the last result of the round has come
and is recorded.

A worker that dies before it acknowledges an enqueue leaves its message to the broker, which gives it back
after 180 s (`visibility_timeout`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import Empty, SimpleQueue

from tests.chaos.lanes import BEAT_AT_RANDOM, WORKER_AT_RANDOM, Healed, Lane, Round
from tests.chaos.nursery import open_nursery
from tests.chaos.plan import Fault, Plan
from tests.chaos.site import open_site
from tests.chaos.steps import Step
from tests.chaos.table import Row, merged, row
from tests.chaos.world import BROKER_DATABASES, World

PLACES: tuple[str, ...] = (*Step, WORKER_AT_RANDOM, BEAT_AT_RANDOM)

MOST_PASSES = 3
LONGEST_LIFE_S = 3.0
SHORT_LANES = 4
NOTE = "SIGKILL, short form: the suite ended the leases and the broker's 180 s instead of waiting for them"


def rounds_of(plan: Plan) -> SimpleQueue[Round]:
    """Return the rounds in their order: one at each place, then the next at each."""
    rounds: SimpleQueue[Round] = SimpleQueue()
    for number in range(plan.rounds):
        for place in PLACES:
            random = plan.random(place, number)
            passes = random.randint(1, MOST_PASSES)
            rounds.put(Round(place=place, passes=passes, life_s=random.uniform(0, LONGEST_LIFE_S)))
    return rounds


def work_off(lane: Lane, rounds: SimpleQueue[Round], *, plan: Plan) -> list[Row]:
    """Take rounds as long as there are any and it is time; return the rows of this installation."""
    healed: list[Healed] = []
    while not plan.is_over(done=len(healed)) or plan.short:
        try:
            one = rounds.get_nowait()
        except Empty:
            break
        healed.append(lane.go(one))
    rows = []
    for place in PLACES:
        here = [one for one in healed if one.place == place]
        account = lane.site.account(of=[task_id for one in here for task_id in one.tasks])
        rows.append(
            row(
                account,
                name="kill",
                fault=f"SIGKILL {place}",
                database=lane.site.world.database,
                recoveries=[one.recovery for one in here],
                also_wrong=[fault for one in here for fault in one.faults()],
                note=NOTE if lane.short else "",
            )
        )
    return rows


def run(world: World, plan: Plan) -> Sequence[Row]:
    """Kill at all places."""
    rounds = rounds_of(plan)
    number = SHORT_LANES if plan.short else BROKER_DATABASES
    with ExitStack() as stack:
        nursery = stack.enter_context(open_nursery())
        sites = [stack.enter_context(open_site(world, name=f"lane{n}", number=n)) for n in range(number)]
        lanes = [Lane.begin(site, nursery=nursery, short=plan.short) for site in sites]
        with ThreadPoolExecutor(max_workers=number) as threads:
            done = list(threads.map(lambda lane: work_off(lane, rounds, plan=plan), lanes))
    return [merged(rows) for rows in zip(*done, strict=True)]


FAULT = Fault(
    meaning="SIGKILL of a worker at every step, of a worker and Beat at random moments",
    run=run,
    rounds=1_000,
    minutes=30,
    short_rounds=1,
)
