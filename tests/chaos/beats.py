"""No Beat, then two: what fell due meanwhile is caught up with, and nothing doubles.

Nothing but Beat looks for polls that fall due, so without it nothing is delivered; the tasks are enqueued
over the time without it. Recovery is counted from the start of the two Beats.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from tests.chaos.plan import Fault, Plan
from tests.chaos.site import Site, open_site
from tests.chaos.table import Row, row
from tests.chaos.world import World

ABSENCE_S = 60.0
SHORT_ABSENCE_S = 3.0
TASKS = 120  # enqueued over the absence
PATIENCE_S = 60.0


def run(world: World, plan: Plan) -> Sequence[Row]:
    """Take Beat away, bring two, and count."""
    recoveries: list[float] = []
    with open_site(world, name="beats", number=0) as site:
        site.celery("worker").wait_for(" ready.")
        while not plan.is_over(done=len(recoveries)):
            recoveries.append(one_round(site, absence=SHORT_ABSENCE_S if plan.short else ABSENCE_S))
        note = f"Beat: away for {SHORT_ABSENCE_S:.0f} s only" if plan.short else ""
        return [
            row(
                site.account(),
                name="beat",
                fault="no Beat for 60 s, then two",
                database=world.database,
                recoveries=recoveries,
                also_wrong=[f"a stall of {took:.0f} s" for took in recoveries if took >= PATIENCE_S],
                note=note,
            )
        ]


def one_round(site: Site, *, absence: float) -> float:
    """Return the seconds from the start of the two Beats until all was delivered."""
    tasks: list[str] = []
    for _ in range(TASKS):
        tasks += site.enqueue()
        time.sleep(absence / TASKS)
    beats = [site.celery("beat"), site.celery("beat")]
    started = time.monotonic()
    recovery = site.recover(tasks, since=started, seconds=PATIENCE_S)
    time.sleep(2)  # two Beats go on ringing: had they doubled anything, it would come now
    for beat in beats:
        beat.stop()
    return recovery


FAULT = Fault(
    meaning="Beat is away for 60 s, then two of them run", run=run, rounds=3, minutes=6, short_rounds=1
)
