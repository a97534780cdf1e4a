"""Take due deliveries, each origin as many as it was granted.

The longest due come first. Each origin costs one look at its index, whatever waits behind it or elsewhere:
PostgreSQL does all of them in one statement that is built once and gives what their POSTs need; SQLite takes
one origin after the other, and then reads that. A statement with an arm for each origin took 0.3 ms of the
worker for each of them, to be written anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Executable,
    Integer,
    Select,
    Text,
    Update,
    any_,
    bindparam,
    func,
    literal_column,
    select,
    true,
    type_coerce,
    update,
)
from sqlalchemy.orm import Session

from worker.db.deliveries import LEASED, Lease, leases_of
from worker.db.models import Delivery, SunoTask
from worker.db.statements import among, run, run_scalars, table_of
from worker.db.types import UtcDateTime

_TABLE, _TASKS = table_of(Delivery), table_of(SunoTask)
_NOW, _UNTIL = (bindparam(name, type_=UtcDateTime()) for name in ("now", "until"))


def claim(
    session: Session, *, grants: Mapping[str, int], first_only: bool, until: datetime, now: datetime
) -> list[Lease]:
    """Take up to its grant of each origin's due deliveries by pushing their due time to `until`.

    With `first_only`, only those that were never tried.
    """
    wanted = [(origin, grant) for origin, grant in sorted(grants.items()) if grant > 0]
    moments = {"now": now, "until": until}
    if not wanted:
        return []
    if session.get_bind().dialect.name == "sqlite":
        ids: list[str] = []
        for origin, grant in wanted:
            named = moments | {"name": origin, "most": grant}
            ids += run_scalars(session, _ONE_ORIGIN[first_only], named)
        rows = run(session, _READ, {"ids": ids})
    else:
        names, most = zip(*wanted, strict=True)
        given = {"names": list(names), "most": list(most)}
        rows = run(session, _ALL_ORIGINS[first_only], moments | given)
    return leases_of(rows, now=now, until=until)


def _due(*, origin: ColumnElement[str], most: ColumnElement[int], first_only: bool) -> Select[str]:
    # The state stands in the text: a plan that is made once for all values could use no partial index.
    rows = select(_TABLE.c.id).where(
        _TABLE.c.origin == origin,
        _TABLE.c.state == literal_column("'PENDING'"),
        _TABLE.c.next_attempt_at <= _NOW,
    )
    if first_only:
        rows = rows.where(_TABLE.c.attempt_count == literal_column("0"))
    # Rows that a late record holds at this moment are passed over: it may wait for the origin that we hold.
    return rows.order_by(_TABLE.c.next_attempt_at).limit(most).with_for_update(skip_locked=True)


def _leased() -> Update:
    return update(_TABLE).values(next_attempt_at=_UNTIL, leased_until=_UNTIL, claims=_TABLE.c.claims + 1)


def _of_one_origin(*, first_only: bool) -> Executable:
    most = bindparam("most", type_=Integer())
    due = _due(origin=bindparam("name", type_=Text()), most=most, first_only=first_only)
    return _leased().where(_TABLE.c.id.in_(due)).returning(_TABLE.c.id)


def _of_all_origins(*, first_only: bool) -> Executable:
    # Behind a SELECT the planner does not see how long the arrays are. It would find a plan for their length
    # better than one for all, and make a new one for each claim: a sixth of what the statement takes.
    names, most = (
        select(bindparam(name, type_=ARRAY(type_))).scalar_subquery()
        for name, type_ in (("names", Text()), ("most", Integer()))
    )
    given = func.unnest(names, most).table_valued("origin", "most").render_derived(name="given")
    due = _due(origin=given.c.origin, most=given.c.most, first_only=first_only).lateral("due")
    # As an array it is run once, and its ids are looked up by key. As a plain part of WHERE it might be
    # repeated, and take more than was granted; joined to it, the whole table would be read, since the planner
    # takes a limit that is a column for a large one.
    ids = func.array(select(due.c.id).select_from(given.join(due, true())).scalar_subquery())
    return (
        _leased()
        .where(_TABLE.c.id == any_(type_coerce(ids, ARRAY(Text()))), _TASKS.c.id == _TABLE.c.suno_task_id)
        .returning(*LEASED)
    )


_READ = (
    select(*LEASED)
    .join_from(_TABLE, _TASKS, _TASKS.c.id == _TABLE.c.suno_task_id)
    .where(among(_TABLE.c.id, "ids"))
)
_ONE_ORIGIN = {first_only: _of_one_origin(first_only=first_only) for first_only in (False, True)}
_ALL_ORIGINS = {first_only: _of_all_origins(first_only=first_only) for first_only in (False, True)}
