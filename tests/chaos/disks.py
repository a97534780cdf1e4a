"""The disk under a SQLite file is full, or the file is read-only, while all runs; then there is room again.

What the broker has taken is a promise: `suno.enqueue` waits for room, and results wait at the gateway. A
worker says what is wrong, in single lines and not in a flood of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.ledger import Ledger
from tests.chaos.outages import said
from tests.chaos.plan import Fault, Plan
from tests.chaos.site import Site, open_site
from tests.chaos.small_disk import Disk
from tests.chaos.table import Row, row
from tests.chaos.world import World

WITHIN_S = 15.0
LIMIT_S = 120.0
TASKS = 30  # enqueued before there is no room, and as many after
LONGEST_SONG_S = 2.0
OUTAGE_S, SHORT_OUTAGE_S = 20.0, 2.0
# Each suno.enqueue that waits says so once; the two streams say so with each of Beat's rings.
MOST_LINES_A_SECOND = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What the file lacks, and the words in which SQLite says so."""

    disk: Disk
    fault: str
    words: str


WANTS = (
    Want(disk=Disk.FULL, fault="disk full", words="database or disk is full"),
    Want(disk=Disk.READ_ONLY, fault="file read-only", words="attempt to write a readonly database"),
)


def run(world: World, plan: Plan) -> Sequence[Row]:
    """Do both, one after the other."""
    with open_site(world, name="disk", number=0) as site:
        file = site.folder / "disk"
        file.write_text(Disk.ROOM)
        worker = site.module("tests.chaos.small_disk", str(file), "-A", "worker", "worker")
        worker.wait_for(" ready.")
        site.celery("beat")
        return [rounds(site, want, plan, file=file) for want in WANTS]


def rounds(site: Site, want: Want, plan: Plan, *, file: Path) -> Row:
    """Take the room away and give it back."""
    site.desk.ledger = Ledger()
    chance = plan.random(want.fault)
    lasts = SHORT_OUTAGE_S if plan.short else OUTAGE_S
    said_before, tracebacks = said(want.words, site.programs), said("Traceback", site.programs)
    recoveries: list[float] = []
    while not plan.is_over(done=len(recoveries)):
        began = time.monotonic()
        for _ in range(TASKS):
            site.send(site.begin(lasts=chance.uniform(0, LONGEST_SONG_S)))
        file.write_text(want.disk)
        site.enqueue(TASKS)
        time.sleep(lasts)
        file.write_text(Disk.ROOM)
        back = time.monotonic()
        site.ledger.strike(since=began)
        recoveries.append(site.recover(sorted(site.ledger.promised), since=back, seconds=LIMIT_S))
    made = row(
        site.account(),
        name="disk",
        fault=want.fault,
        database=site.world.database,
        recoveries=recoveries,
    )
    lines = said(want.words, site.programs) - said_before
    most = len(recoveries) * (2 * TASKS + MOST_LINES_A_SECOND * lasts)
    wrong = [
        *([] if lines else [f"no worker said {want.words!r}"]),
        *([f"{lines} lines, more than {most:.0f}"] if lines > most else []),
        *([f"{one.log.name} ended" for one in site.programs if one.child.ended() is not None]),
        *(["tracebacks in the logs"] if said("Traceback", site.programs) > tracebacks else []),
        *(f"recovery took {took:.1f} s" for took in recoveries if not plan.allows(took, within_s=WITHIN_S)),
    ]
    return replace(made, wrong=(*made.wrong, *wrong))


FAULT = Fault(
    meaning="the disk under a SQLite file is full, or the file read-only, for 20 s",
    run=run,
    rounds=10,
    minutes=8,
    short_rounds=1,
    databases=("sqlite",),
)
