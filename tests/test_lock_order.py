"""Rows are locked in one order for all, so that no two transactions wait for each other in a ring.

Two that meet by chance would show it now and then. Here one row, the first in the order, is held by a
stranger: whoever keeps the order then waits for that one and holds none of the others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Select, select, text, update
from sqlalchemy.orm import Session

from tests.polling import INTERVAL, LIMITS, Bench
from worker.answers import write_answers
from worker.attribution import End, Polled
from worker.clients.portal import Portal
from worker.core.wire import Bad, Trouble
from worker.db import poll_batches, suno_tasks
from worker.db.clock import read_now
from worker.db.models import Gateway, PollBatch, SunoTask
from worker.db.session import Sessions, make_engine, make_sessions
from worker.release import Pace

ROWS = 20  # of which a random order would have the first one first in one case of twenty
PACE = Pace(interval=INTERVAL, lease=timedelta(seconds=75), cooldown=timedelta(seconds=5))
TROUBLE = Bad(trouble=Trouble.SERVER_ERROR, message="HTTP 500")


@pytest.fixture
def bench(postgresql_url: str, portal: Portal) -> Iterator[Bench]:
    """Give a poller on PostgreSQL: SQLite locks no rows."""
    engine = make_engine(postgresql_url)
    yield Bench(sessions=make_sessions(engine), portal=portal)
    engine.dispose()


def locked_first(
    sessions: Sessions,
    work: Callable[[Session], object],
    *,
    first: Select[Any],
    others: Select[Any],
) -> bool:
    """Say whether `work`, when it waits for the row `first`, has locked none of the `others`."""
    blocked = text("SELECT count(*) FROM pg_locks WHERE NOT granted")

    def do() -> None:
        with sessions.begin() as session:
            # Rows come as they lie in the table, and not from an index that has an order of its own.
            session.execute(text("SET LOCAL enable_indexscan = off"))
            session.execute(text("SET LOCAL enable_bitmapscan = off"))
            work(session)

    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            session.execute(first.with_for_update()).one()
            working = pool.submit(do)
            while not session.execute(blocked).scalar_one():
                assert not working.done()
            wanted = session.scalars(others.with_for_update(skip_locked=True)).all()
        working.result()
    return len(wanted) == ROWS - 1


def lie_backwards(session: Session, model: type[PollBatch | SunoTask], ids: Sequence[int]) -> None:
    """Have the rows lie in their table with the last one first: each new version comes behind the others."""
    for row_id in sorted(ids, reverse=True):
        session.execute(update(model).where(model.id == row_id).values(action="MUSIC"))


@pytest.mark.parametrize(
    ("model", "hold"), [(PollBatch, poll_batches.hold), (SunoTask, suno_tasks.hold)], ids=["batches", "tasks"]
)
def test_rows_are_held_in_the_order_of_their_ids(
    bench: Bench, model: type[PollBatch | SunoTask], hold: Callable[..., object]
) -> None:
    """Whichever way they are asked for, and however they lie."""
    for number in range(ROWS):
        bench.add(f"t{number}")
    with bench.sessions.begin() as session:
        ids = sorted(session.scalars(select(model.id)))
        lie_backwards(session, model, ids)

    assert len(ids) == ROWS
    assert locked_first(
        bench.sessions,
        lambda session: hold(session, ids=ids[::-1]),
        first=select(model.id).where(model.id == min(ids)),
        others=select(model.id).where(model.id != min(ids)),
    )


def test_gateways_are_written_in_the_order_of_their_names(bench: Bench) -> None:
    """Answers of several gateways come in any order."""
    names = [f"g{number:02}" for number in range(ROWS)]
    for name in names:
        bench.add(name, gateway=name)
    claimed = bench.poller(*(bench.polled(name) for name in names)).claim(free=ROWS).items
    shuffled = random.Random(7).sample(claimed, ROWS)  # noqa: S311 - the same in each run
    answers = [
        (batch, Polled(task_ids=tuple(batch.tasks), reply=TROUBLE, is_trouble=True, end=End()))
        for batch in shuffled
    ]
    assert shuffled[0].lease.gateway != names[0]

    assert locked_first(
        bench.sessions,
        lambda session: write_answers(
            session, answers, paces=dict.fromkeys(names, PACE), limits=LIMITS, now=read_now(session)
        ),
        first=select(Gateway.name).where(Gateway.name == names[0]),
        others=select(Gateway.name).where(Gateway.name != names[0]),
    )
