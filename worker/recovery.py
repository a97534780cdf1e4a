"""Send again what was given up in a stretch of time, when its receivers are back.

The work goes in groups of 100, each in its own transaction: one that is interrupted has recovered what it
said, and can be called again for the rest. Recovered deliveries keep their ids. Their receivers are not
overrun: each origin's adaptive limit and breaker stand between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Select, func, select

from worker.db import origins
from worker.db.clock import read_now
from worker.db.deliveries import State, Trigger
from worker.db.models import Delivery
from worker.db.session import Sessions, reading
from worker.replay import make_pending

MOST = 10_000  # deliveries of one call
GROUP = 100  # of one transaction


def count_by_origin(
    sessions: Sessions, *, since: datetime, until: datetime, origin: str | None = None
) -> dict[str, int]:
    """Return how many were discarded in the range at each origin, all of them, the most first."""
    wanted = _discarded(since=since, until=until, origin=origin).with_only_columns(
        Delivery.origin, func.count().label("number")
    )
    with reading(sessions) as session:
        rows = session.execute(
            wanted.group_by(Delivery.origin).order_by(func.count().desc(), Delivery.origin)
        )
        return {row.origin: row.number for row in rows}


def recover(
    sessions: Sessions, *, since: datetime, until: datetime, origin: str | None = None
) -> Iterator[int]:
    """Make what was discarded in the range due at once, oldest first; yield the size of each group.

    At most 10,000 deliveries; a caller that wants more calls again.
    """
    left = MOST
    while left > 0:
        wanted = _discarded(since=since, until=until, origin=origin).order_by(Delivery.discarded_at)
        with sessions.begin() as session:
            now = read_now(session)
            chosen = session.scalars(wanted.limit(min(GROUP, left))).all()
            group = session.scalars(_hold_discarded(chosen)).all()
            for delivery in group:
                make_pending(delivery, trigger=Trigger.RECOVER, now=now)
            session.flush()
            origins.make_due(session, origins={delivery.origin for delivery in group}, now=now)
        if not chosen:
            return
        left -= len(group)
        yield len(group)


def _hold_discarded(ids: Sequence[str]) -> Select[Delivery]:
    """Lock the rows in the order in which a record does; one that was resent meanwhile is left out."""
    still = select(Delivery).where(Delivery.id.in_(ids), Delivery.state == State.DISCARDED.value)
    return still.order_by(Delivery.id).with_for_update(key_share=True)


def _discarded(*, since: datetime, until: datetime, origin: str | None) -> Select[str]:
    found = select(Delivery.id).where(
        Delivery.state == State.DISCARDED.value, Delivery.discarded_at >= since, Delivery.discarded_at < until
    )
    return found if origin is None else found.where(Delivery.origin == origin)
