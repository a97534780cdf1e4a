"""A part of an installation fails and comes back: rounds of that, and what they cost.

Recovery is counted from the moment at which the part is back (a half-open connection: at which it went
silent, because a new one would work) until all that was watched before, during and after the outage
has been delivered, so it is never less than the first delivery after the return. A round that takes longer
than `within_s` is wrong, and so are a program that ended and a traceback in a log.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.ledger import Ledger
from tests.chaos.plan import Plan
from tests.chaos.programs import Program
from tests.chaos.site import Site
from tests.chaos.table import Row, row
from worker.db.session import Sessions
from worker.embedded.valkey import HOST
from worker.intake import put_under_watch
from worker.request import Policy, Refused, Request
from worker.settings.values import read_allow

SHORT_NOTE = "broker and PostgreSQL: away for 1 or 2 s only"
LIMIT_S = 120.0  # after it, what has not come is lost
FIRST_POLL_DELAY = timedelta(seconds=0.2)
BEFORE, AFTER = 10, 5  # tasks that are watched before an outage, and after it
LONGEST_SONG_S, SHORT_LONGEST_SONG_S = 3.0, 0.5

Break = Callable[[Site, float], float]  # breaks, has tasks watched, mends; returns when the part was back


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """One way to fail. `seconds`: how long it lasts, in the long and in the short form.

    `doubles`: a record may fail at it, so that what was in flight comes twice.
    """

    part: str  # what `--only` knows it by
    name: str
    strike: Break
    within_s: float
    seconds: tuple[float, float]
    seen: str = ""  # what a worker has to have said of it, or it never happened
    doubles: bool = False


def rounds_of(site: Site, outage: Outage, plan: Plan) -> Row:
    """Let it happen as often as planned, with books of its own."""
    site.desk.ledger = Ledger()
    recoveries: list[float] = []
    chance = plan.random(outage.name)
    longest = SHORT_LONGEST_SONG_S if plan.short else LONGEST_SONG_S
    tracebacks, seen = said("Traceback", site.programs), said(outage.seen, site.programs)
    while not plan.is_over(done=len(recoveries)):
        watch(site, [site.begin(lasts=chance.uniform(0, longest)) for _ in range(BEFORE)])
        began = time.monotonic()
        back = outage.strike(site, outage.seconds[plan.short])
        watch(site, [site.begin() for _ in range(AFTER)])
        if outage.doubles:
            site.ledger.strike(since=began)
        tasks = sorted(site.ledger.promised)
        recoveries.append(site.recover(tasks, since=back, seconds=LIMIT_S))
    made = row(
        site.account(),
        name=outage.part,
        fault=outage.name,
        database=site.world.database,
        recoveries=recoveries,
        note=SHORT_NOTE if plan.short else "",
    )
    ended = [one.log.name for one in site.programs if one.child.ended() is not None]
    wrong = [f"{name} ended" for name in ended]
    wrong += [
        f"recovery took {took:.1f} s"
        for took in recoveries
        if not plan.allows(took, within_s=outage.within_s)
    ]
    if more := said("Traceback", site.programs) - tracebacks:
        wrong.append(f"{more} tracebacks in the logs")
    if outage.seen and said(outage.seen, site.programs) == seen:
        wrong.append(f"no worker has seen it: {outage.seen!r}")
    return replace(made, wrong=(*made.wrong, *wrong))


def watch(
    site: Site,
    task_ids: Sequence[str],
    *,
    sessions: Sessions | None = None,
    action: str = "MUSIC",
    hook: str | None = None,
) -> None:
    """Write the tasks' rows as a service does that shares the database; what is committed is promised."""
    policy = Policy(batch_sizes={"hub": 100}, allow=read_allow(HOST), first_poll_delay=FIRST_POLL_DELAY)
    requests = [Request(task_id=name, action=action, notify_hook=hook or site.hook) for name in task_ids]
    with (sessions or site.sessions).begin() as session:
        outcomes = put_under_watch(session, requests=requests, policy=policy)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    site.ledger.promise(*task_ids)


def try_to_watch(site: Site, task_ids: Sequence[str], *, sessions: Sessions) -> bool:
    """Do so over a database that may fail; only what was acknowledged is promised."""
    try:
        watch(site, task_ids, sessions=sessions)
    except SQLAlchemyError:
        return False
    return True


def said(words: str, programs: Sequence[Program]) -> int:
    """Count how often `words` were written."""
    return sum(one.log.read_text(errors="replace").count(words) for one in programs) if words else 0
