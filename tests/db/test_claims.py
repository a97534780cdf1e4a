"""A claim takes what is due once, and a record of an older claim changes nothing."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.factory import NOW, add_batch, add_delivery, add_gateway, add_task
from worker.core.lifecycle import Action, Status, Times
from worker.core.webhook import Result
from worker.db import claimable, deliveries, delivery_claims, gateways, origins, poll_batches
from worker.db.models import Delivery, PollBatch, SunoTask
from worker.db.poll_batches import Lease
from worker.db.session import Sessions, make_engine

LEASE = timedelta(seconds=60)


def claim(session: Session, *, limit: int, now: datetime) -> list[Lease]:
    """Lease due batches as a claim does, without merging any."""
    due = claimable.lock_due(session, gateway="hub", room=limit, rows=limit, now=now)
    leases = [
        Lease(
            batch_id=batch.id,
            gateway="hub",
            action=batch.action,
            claims=batch.claims + 1,
            youngest_at=batch.youngest_at,
            leased_until=now + LEASE,
            alone=batch.alone,
        )
        for batch in due
    ]
    poll_batches.write_leases(session, leases=leases, sizes={batch.id: batch.size for batch in due})
    return leases


def release(session: Session, lease: Lease, *, due: datetime) -> None:
    """End a lease as the record of an answer does."""
    answered = poll_batches.Answered(lease=lease, next_poll_at=due, leased_until=None, alone=False)
    poll_batches.write_if_claim_seen(session, answered=[answered], now=NOW)


def test_a_claim_takes_due_batches_of_its_gateway_oldest_first(sessions: Sessions) -> None:
    """What is not due yet, or belongs to another gateway, stays."""
    with sessions.begin() as session:
        add_gateway(session)
        add_gateway(session, name="other")
        late = add_batch(session, next_poll_at=NOW - timedelta(seconds=5))
        later = add_batch(session, next_poll_at=NOW - timedelta(seconds=9))
        add_batch(session, next_poll_at=NOW + timedelta(microseconds=1))
        add_batch(session, gateway="other")
    with sessions.begin() as session:
        first = claim(session, limit=1, now=NOW)
        second = claim(session, limit=9, now=NOW)
    assert [lease.batch_id for lease in first + second] == [later, late]
    assert {lease.claims for lease in first + second} == {1}


def test_an_expired_lease_is_due_again_and_fences_the_dead_worker(sessions: Sessions) -> None:
    """The row comes back by itself, and the first worker's late record finds another claim."""
    with sessions.begin() as session:
        add_gateway(session)
        add_batch(session)
    with sessions.begin() as session:
        (dead,) = claim(session, limit=1, now=NOW)
        assert claim(session, limit=1, now=NOW + LEASE / 2) == []
        (alive,) = claim(session, limit=1, now=NOW + LEASE)
    assert (dead.claims, alive.claims) == (1, 2)
    with sessions.begin() as session:
        release(session, alive, due=NOW + 2 * LEASE)
        release(session, dead, due=NOW)
    with sessions() as session:
        batch = session.scalars(select(PollBatch)).one()
        assert (batch.next_poll_at, batch.leased_until, batch.last_polled_at) == (NOW + 2 * LEASE, None, NOW)


def test_live_leases_count_requests_in_flight_only(sessions: Sessions) -> None:
    """Released and expired leases do not count against the gateway's limit."""
    with sessions.begin() as session:
        add_gateway(session)
        for _ in range(3):
            add_batch(session)
        leases = claim(session, limit=3, now=NOW)
        release(session, leases[0], due=NOW + LEASE)
        assert poll_batches.live_leases(session, gateway="hub", now=NOW) == 2
        assert poll_batches.live_leases(session, gateway="hub", now=NOW + LEASE) == 0


def test_two_workers_never_claim_the_same_batch(sessions: Sessions) -> None:
    """Eight claimers at once share the due batches without taking one twice."""
    with sessions.begin() as session:
        add_gateway(session)
        wanted = {add_batch(session) for _ in range(40)}
    taken: list[int] = []
    barrier = threading.Barrier(8)

    def run() -> None:
        barrier.wait()
        while True:
            with sessions.begin() as session:
                gateways.lock(session, name="hub")
                leases = claim(session, limit=3, now=NOW)
            if not leases:
                return
            taken.extend(lease.batch_id for lease in leases)

    _together(run, 8)
    assert sorted(taken) == sorted(wanted)


def test_the_gateways_row_holds_its_limit_over_all_workers(sessions: Sessions) -> None:
    """Eight claimers that count live leases under the gateway's lock never exceed the limit of four."""
    with sessions.begin() as session:
        add_gateway(session)
        for _ in range(40):
            add_batch(session)
    barrier = threading.Barrier(8)

    def run() -> None:
        barrier.wait()
        for _ in range(3):
            with sessions.begin() as session:
                gateways.lock(session, name="hub")
                free = 4 - poll_batches.live_leases(session, gateway="hub", now=NOW)
                if free > 0:
                    claim(session, limit=free, now=NOW)

    _together(run, 8)
    with sessions() as session:
        assert poll_batches.live_leases(session, gateway="hub", now=NOW) == 4


def test_a_guarded_write_leaves_a_row_that_moved_on(sessions: Sessions) -> None:
    """A record that saw an older state or claim changes nothing."""
    with sessions.begin() as session:
        add_gateway(session)
        ids = [add_delivery(session) for _ in range(2)]
        session.execute(update(Delivery).where(Delivery.id == ids[0]).values(state="DELIVERED"))
        session.execute(update(Delivery).where(Delivery.id == ids[1]).values(claims=7))
        seen = {"state_seen": "PENDING", "claims_seen": 0, "attempt_count": 99}
        deliveries.write_if_state_seen(session, changes=[(row_id, seen) for row_id in ids])
    with sessions() as session:
        assert list(session.scalars(select(Delivery.attempt_count))) == [0, 0]


def test_rows_that_change_alike_and_rows_that_do_not_are_all_written(sessions: Sessions) -> None:
    """One statement for those alike, one more for the others: each row gets its own values, guarded alone."""
    with sessions.begin() as session:
        add_gateway(session)
        ids = [add_delivery(session) for _ in range(5)]
        stolen = ids[4]
        session.execute(update(Delivery).where(Delivery.id == stolen).values(claims=7))
    seen = {"state_seen": "PENDING", "claims_seen": 0}
    counts = dict(zip(ids, (1, 1, 2, 3, 3), strict=True))
    with sessions.begin() as session:
        deliveries.write_if_state_seen(
            session, changes=[(id_, {"attempt_count": counts[id_]} | seen) for id_ in ids]
        )
    with sessions() as session:
        found = {
            row.id: row.attempt_count for row in session.execute(select(Delivery.id, Delivery.attempt_count))
        }
    assert found == counts | {stolen: 0}


def test_a_claim_gives_each_column_its_place(sessions: Sessions) -> None:
    """No two of its values are alike here, so none can stand for another."""
    submitted, started, finished = (NOW - timedelta(minutes=minutes) for minutes in (3, 2, 1))
    with sessions.begin() as session:
        add_gateway(session)
        row_id = add_task(
            session,
            task_id="t-1",
            action="LYRICS",
            status="FAILURE",
            fail_reason="broken",
            upstream_submitted_at=submitted,
            upstream_started_at=started,
            upstream_finished_at=finished,
            progress=42,
            data="[1]",
        )
        hook, origin = "https://h.example/other", "https://h.example:443"
        delivery = add_delivery(
            session, suno_task_id=row_id, notify_hook=hook, origin=origin, claims=6, trigger="resend"
        )
        until = NOW + LEASE
        grants = {origin: 1}
        (lease,) = delivery_claims.claim(session, grants=grants, first_only=False, until=until, now=NOW)
    assert lease == deliveries.Lease(
        id=delivery,
        gateway="hub",
        origin=origin,
        claims=7,
        trigger=deliveries.Trigger.RESEND,
        claimed_at=NOW,
        leased_until=until,
        result=Result(
            task_id="t-1",
            notify_hook=hook,
            action=Action.LYRICS,
            status=Status.FAILURE,
            fail_reason="broken",
            times=Times(submitted_at=submitted, started_at=started, finished_at=finished),
            progress=42,
            data="[1]",
        ),
    )


def test_a_pending_task_outside_all_batches_cannot_be_stored(sessions: Sessions) -> None:
    """The database itself refuses a task that nobody would ever poll."""
    with sessions.begin() as session:
        add_gateway(session)
        row_id = add_task(session)
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.execute(update(SunoTask).where(SunoTask.id == row_id).values(poll_batch_id=None))
    with pytest.raises(IntegrityError), sessions.begin() as session:
        session.execute(PollBatch.__table__.delete())  # type: ignore[attr-defined]


def _together(run: object, count: int) -> None:
    assert callable(run)
    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_rows_of_origins_are_locked_in_one_order(sessions: Sessions) -> None:
    """Python's `sorted` and the database agree on names, whatever the server's collation is."""
    names = ["http://h1:80", "http://h10:80", "http://a-b:80", "http://ab:80", "http://A:80"]
    with sessions.begin() as session:
        origins.make_due(session, origins=names, now=NOW)
        assert list(origins.lock(session, origins=names)) == sorted(names)


def test_the_database_compares_origins_byte_by_byte(postgresql_url: str) -> None:
    """The tests' server may sort like that anyway; an installation's does not, so the columns say it."""
    engine = make_engine(postgresql_url)
    query = "SELECT collation_name FROM information_schema.columns WHERE column_name = 'origin'"
    with engine.connect() as connection:
        assert list(connection.execute(text(query)).scalars()) == ["C", "C"]
    engine.dispose()
