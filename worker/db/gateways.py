"""Statements on `gateways`: the names that may be used, and the health that all workers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from worker.db.models import Gateway
from worker.db.statements import run, run_scalars, upsert

FORGOTTEN_AFTER = timedelta(minutes=150)
LONGEST_ERROR = 500  # characters kept of `last_error`

_LOCK = (
    select(Gateway.cooling_until, Gateway.failures, Gateway.trouble)
    .where(Gateway.name == bindparam("gateway"))
    .with_for_update(key_share=True)
)
_HEAL = (
    update(Gateway)
    .where(
        Gateway.name == bindparam("gateway"),
        Gateway.failures > 0,
        or_(Gateway.cooling_until.is_(None), Gateway.cooling_until <= bindparam("now")),
    )
    .values(cooling_until=None, failures=0, trouble=None, last_error=None, last_error_at=None)
    .returning(Gateway.name)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """How a gateway fares: no claims before `cooling_until`, and only a probe while `failures` is not 0."""

    cooling_until: datetime | None
    failures: int
    trouble: str | None  # what the last bad answer was


def remember(session: Session, *, batch_sizes: Mapping[str, int], now: datetime) -> None:
    """Note what is configured, as `migrate`, a worker's start and then each hour do; health stays as it is.

    It locks the rows until the commit, so an enqueue uses `add_missing` instead.
    """
    if not batch_sizes:
        return
    rows = [
        {"name": name, "batch_size": size, "configured_at": now} for name, size in sorted(batch_sizes.items())
    ]
    statement = upsert(session, Gateway).values(rows)
    changed = {"batch_size": statement.excluded.batch_size, "configured_at": statement.excluded.configured_at}
    run(session, statement.on_conflict_do_update(index_elements=["name"], set_=changed))


def add_missing(session: Session, *, batch_sizes: Mapping[str, int], now: datetime) -> None:
    """Give names that have none a row; takes no lock on those that are there, so nobody waits for it."""
    known = set(run_scalars(session, select(Gateway.name).where(Gateway.name.in_(batch_sizes))))
    missing = [
        {"name": name, "batch_size": size, "configured_at": now}
        for name, size in batch_sizes.items()
        if name not in known
    ]
    if missing:
        run(session, upsert(session, Gateway).values(missing).on_conflict_do_nothing())


def batch_sizes(session: Session) -> dict[str, int]:
    """Return the batch size of every gateway that is configured somewhere, as far as this database can know.

    Every worker says each hour what it has configured. A name that none has said for two and a half hours,
    while others were said, is of a gateway that was removed or renamed.
    """
    latest = select(func.max(Gateway.configured_at)).scalar_subquery()
    rows = run(
        session, select(Gateway.name, Gateway.batch_size, Gateway.configured_at, latest.label("latest"))
    )
    return {
        row.name: row.batch_size
        for row in rows
        if row.latest is None
        or (row.configured_at is not None and row.latest - row.configured_at <= FORGOTTEN_AFTER)
    }


def lock(session: Session, *, name: str) -> Health | None:
    """Take the gateway's row until the end of the transaction; None when it has no row yet.

    Whoever holds it may count live leases and claim up to the limit: on PostgreSQL a lock inside the claim's
    own statement would come after that statement's snapshot, and let the limit be exceeded. The lock leaves
    foreign keys alone, so it never holds up an enqueue.
    """
    row = run(session, _LOCK, {"gateway": name}).one_or_none()
    return None if row is None else Health(**row._mapping)  # noqa: SLF001 - a public name of SQLAlchemy


def record_trouble(session: Session, *, name: str, health: Health, message: str, now: datetime) -> None:
    """Note a bad answer and what it makes of the gateway: nobody asks it before `cooling_until`."""
    run(
        session,
        update(Gateway)
        .where(Gateway.name == name)
        .values(
            cooling_until=health.cooling_until,
            failures=health.failures,
            trouble=health.trouble,
            last_error=message[:LONGEST_ERROR],
            last_error_at=now,
        ),
    )


def record_health(session: Session, *, name: str, now: datetime) -> bool:
    """Note a good answer; False, and nothing is written, for a gateway that was well.

    During a cool-down it says nothing: its request was under way before the trouble came.
    """
    return run(session, _HEAL, {"gateway": name, "now": now}).first() is not None
