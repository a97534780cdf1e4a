"""Half an hour of mixed load and mixed trouble: nothing grows, and in the end all is accounted for.

One worker, Beat and the exporter live as long as the run, and their memory and descriptors are judged; a
second worker is killed or stopped in each round. `suno.prune` runs all the time with the shortest retention,
so once the first rows are past it, tables must stay as large as they are. In the end each task that was
enqueued is delivered, discarded or pending, and as its fate wants it. Recovery is counted from the end of a
round's troubles until the results of all tasks of the round have come.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.drift import Drift, drift_of, proves
from tests.chaos.entries import Recorded
from tests.chaos.feeding import feeding
from tests.chaos.mixture import EVERY_S, STATES, Mixture
from tests.chaos.outages import said
from tests.chaos.plan import Fault, Plan
from tests.chaos.pruned import read_pruned
from tests.chaos.recording import read_recorded
from tests.chaos.samples import ALLOWED
from tests.chaos.site import Site
from tests.chaos.table import Row, row
from tests.chaos.troubles import Soak, open_soak
from tests.chaos.world import World

# The longest wait is the broker's, for what a killed worker had not acknowledged: 180 s.
PATIENCE_S = 300.0


def run(world: World, plan: Plan) -> Sequence[Row]:
    """Do it for as long as is planned."""
    rounds: list[tuple[float, frozenset[str]]] = []
    with open_soak(world, plan) as soak:
        site, mixture = soak.site, soak.mixture
        with feeding(mixture.enqueue, every_s=EVERY_S):
            while not plan.is_over(done=len(rounds)):
                mended_at = soak.one_round()
                rounds.append((mended_at, frozenset(mixture.to_be_taken())))
        recorded = settle(site, mixture)
        moved = drifts(soak)
        wrong = [*mixture.refused, *grown(moved)]
        wrong += [f"{name} ended" for name, one in soak.watched.items() if one.child.ended() is not None]
        if tracebacks := said("Traceback", site.programs):
            wrong.append(f"{tracebacks} tracebacks in the logs")
        came = site.ledger.came
        return [
            row(
                site.ledger.account(recorded),
                name="soak",
                fault="mixed load, mixed trouble",
                database=world.database,
                recoveries=[
                    max(0.0, *(came.get(name, mended_at + PATIENCE_S) - mended_at for name in tasks))
                    for mended_at, tasks in rounds
                ],
                also_wrong=wrong,
                note=f"Soak on {world.database}: {told(soak, recorded, moved)}",
            )
        ]


def drifts(soak: Soak) -> Mapping[str, Drift]:
    """Return how each figure moved; none of a run that was too short to say."""
    samples, filling = soak.samples, soak.filling
    if not proves(len(samples), filling=filling):
        return {}
    return {name: drift_of([sample[name] for sample in samples], filling=filling) for name in samples[0]}


def grown(moved: Mapping[str, Drift]) -> Iterator[str]:
    """Tell what did not stay as it was."""
    if not moved:
        yield "too short a run to prove anything"
    for name, drift in moved.items():
        if drift.exceeds(ALLOWED[name.partition(" ")[0]]):
            yield f"{name} grew from {drift.early:.1f} to {drift.late:.1f}"


def settle(site: Site, mixture: Mixture) -> Mapping[str, Recorded]:
    """Wait until every delivery stands as it has to, and return how; what does not by then is lost."""
    deadline = time.monotonic() + PATIENCE_S
    site.ledger.wait_for(mixture.to_be_taken(), seconds=PATIENCE_S)
    while True:
        recorded = {**read_recorded(site.sessions), **read_pruned(site.sessions)}
        if time.monotonic() > deadline or all(
            name in recorded and recorded[name].state in STATES[mixture.fates[name]]
            for name in site.ledger.promised
        ):
            return recorded
        time.sleep(1)


def told(soak: Soak, recorded: Mapping[str, Recorded], moved: Mapping[str, Drift]) -> str:
    """Return the figures of a run, early and late."""
    promised = soak.site.ledger.promised
    stands = Counter(recorded[name].state for name in promised & recorded.keys())
    sums = " + ".join(f"{stands[state]:,} {state}" for state in ("DELIVERED", "DISCARDED", "PENDING"))
    figures = [f"{name} {drift.early:.0f} → {drift.late:.0f}" for name, drift in moved.items()]
    return f"{len(promised):,} enqueued = {sums}; {', '.join(figures)}"


FAULT = Fault(
    meaning="mixed load and mixed trouble for half an hour: nothing grows, all is accounted for",
    run=run,
    rounds=1_000,
    minutes=30,
    short_rounds=0,
)
