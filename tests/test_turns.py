"""Origins take turns, each within its own limit over all workers, and nothing that is due is left behind."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, event, func, select, text, update

from tests.factory import add_delivery, add_gateway
from worker.core.verdicts import Answered, Failed, PostError, PostOutcome
from worker.db import deliveries, origins
from worker.db.models import Delivery, Origin
from worker.db.session import Sessions, make_engine, make_sessions
from worker.health import record_outcomes
from worker.turns import LARGEST_CLAIM, Terms, claim_deliveries

LEASE = timedelta(seconds=60)
GOOD = Answered(status_code=200, retry_after=None, excerpt="")
DEAD = Failed(error=PostError.REFUSED, detail="")
HOT, COLD = "https://hot.example:443", "https://cold.example:443"


@pytest.fixture
def now() -> datetime:
    """Give the present."""
    return datetime.now(UTC)


@pytest.fixture
def hub(sessions: Sessions) -> Sessions:
    """Give a database with a gateway."""
    with sessions.begin() as session:
        add_gateway(session)
    return sessions


def add(sessions: Sessions, origin: str, count: int, *, at: datetime, attempt_count: int = 0) -> list[str]:
    """Insert deliveries of an origin that are due at `at`."""
    with sessions.begin() as session:
        return [
            add_delivery(
                session, origin=origin, next_attempt_at=at, created_at=at, attempt_count=attempt_count
            )
            for _ in range(count)
        ]


def change_origin(sessions: Sessions, origin: str, **columns: object) -> None:
    """Change an origin's row; a limit that is set was earned by deliveries, also for a test that is slow."""
    if "concurrency" in columns:
        columns = {"delivered_at": datetime.now(UTC) + timedelta(minutes=1)} | columns
    with sessions.begin() as session:
        session.execute(update(Origin).where(Origin.origin == origin).values(**columns))


def claim(
    sessions: Sessions, *, free: int = 500, most: int = 64, chance: float = 0.9, reserve: int = 0
) -> list[deliveries.Lease]:
    """Claim once."""
    with sessions.begin() as session:
        terms = Terms(lease=LEASE, most=most, reserve=reserve, chance=chance)
        return list(claim_deliveries(session, free=free, terms=terms).items)


def finish(sessions: Sessions, leases: list[deliveries.Lease], outcome: PostOutcome, *, state: str) -> None:
    """Record one outcome for all, as the dispatcher does."""
    with sessions.begin() as session:
        held = deliveries.hold(session, ids=[lease.id for lease in leases])
        deliveries.write_if_state_seen(
            session,
            changes=[
                (
                    lease.id,
                    {
                        "state_seen": held[lease.id].state.value,
                        "claims_seen": lease.claims,
                        "state": state,
                        "leased_until": None,
                        "next_attempt_at": leases[0].claimed_at + timedelta(seconds=5),
                    },
                )
                for lease in leases
            ],
        )
        outcomes: dict[str, list[PostOutcome]] = {}
        for lease in leases:
            outcomes.setdefault(lease.origin, []).append(outcome)
        record_outcomes(session, outcomes=outcomes, most=64, now=leases[0].claimed_at)


def row(sessions: Sessions, origin: str) -> Origin:
    """Return an origin's row."""
    with sessions() as session:
        return session.scalars(select(Origin).where(Origin.origin == origin)).one()


def by_origin(leases: list[deliveries.Lease]) -> dict[str, int]:
    """Count leases."""
    return dict(Counter(lease.origin for lease in leases))


def test_a_new_origin_gets_four_and_more_with_each_delivery(hub: Sessions, now: datetime) -> None:
    """The limit holds while they are in flight, and a record lets the next ones go at once."""
    add(hub, HOT, 100, at=now)
    first = claim(hub)
    assert len(first) == 4
    assert claim(hub) == []
    finish(hub, first, GOOD, state="DELIVERED")
    assert row(hub, HOT).concurrency == 8
    assert len(claim(hub)) == 8


@pytest.mark.parametrize(
    ("hot", "cold", "free", "held_back", "more"),
    [
        pytest.param(3, 0, 500, [], False, id="all taken"),
        pytest.param(9, 0, 500, [HOT], False, id="one at its limit"),
        pytest.param(9, 9, 500, [COLD, HOT], False, id="both at their limits"),
        pytest.param(9, 9, 7, [HOT], True, id="out of slots for the second"),
        pytest.param(9, 9, 6, [], True, id="out of slots"),
    ],
)
def test_a_claim_says_what_it_left(
    hub: Sessions, now: datetime, hot: int, cold: int, free: int, held_back: list[str], more: bool
) -> None:
    """What waits behind an origin's limit is no reason for another claim before a POST of that origin is
    recorded; what is left only for want of slots is one, and another process may take it.
    """
    add(hub, HOT, hot, at=now)
    add(hub, COLD, cold, at=now)
    with hub.begin() as session:
        terms = Terms(lease=LEASE, most=64, reserve=0, chance=0.9)
        claimed = claim_deliveries(session, free=free, terms=terms)
    assert sorted(name for name, is_held_back in claimed.held_back.items() if is_held_back) == held_back
    assert (claimed.more, claimed.leaves_some) == (more, more)


@pytest.mark.parametrize("answers", [False, True])
def test_what_may_not_use_the_reserve_is_left_to_others(hub: Sessions, now: datetime, answers: bool) -> None:
    """With nothing but its reserve free a process cannot see what is due at hosts that have not answered
    lately; it says so, also when it takes something of one that has.
    """
    add(hub, HOT, 1, at=now)
    add(hub, COLD, 1, at=now)
    change_origin(hub, COLD, concurrency=8)
    due = now if answers else now + timedelta(hours=1)
    change_origin(hub, COLD, next_claim_at=due)
    with hub.begin() as session:
        terms = Terms(lease=LEASE, most=64, reserve=20, chance=0.9)
        claimed = claim_deliveries(session, free=20, terms=terms)
    assert [lease.origin for lease in claimed.items] == [COLD] * answers
    assert claimed.more
    assert claimed.leaves_some


def test_one_healthy_origin_reaches_the_full_speed(hub: Sessions, now: datetime) -> None:
    """After 60 deliveries, 64 are in flight."""
    add(hub, HOT, 200, at=now)
    most = 0
    while leases := claim(hub):
        most = max(most, len(leases))
        finish(hub, leases, GOOD, state="DELIVERED")
    assert most == 64
    with hub() as session:
        assert session.scalars(select(func.count()).where(Delivery.state == "DELIVERED")).one() == 200
    assert row(hub, HOT).next_claim_at is None


def test_a_dying_receiver_is_left_in_peace(hub: Sessions, now: datetime) -> None:
    """Five refused connections open its breaker: nothing is claimed for 30 s, then one probe."""
    add(hub, HOT, 20, at=now)
    change_origin(hub, HOT, concurrency=5)
    leases = claim(hub)
    finish(hub, leases, DEAD, state="PENDING")
    origin = row(hub, HOT)
    assert (origin.concurrency, origin.failures, origin.openings) == (1, 5, 1)
    assert origin.open_until == origin.next_claim_at == leases[0].claimed_at + timedelta(seconds=30)
    assert claim(hub) == []
    change_origin(hub, HOT, open_until=now, next_claim_at=now)
    assert len(claim(hub)) == 1
    assert claim(hub) == []


def test_a_new_result_does_not_wake_an_open_origin(hub: Sessions, now: datetime) -> None:
    """It waits with the others, and costs no attempt."""
    add(hub, HOT, 1, at=now)
    later = now + timedelta(minutes=5)
    change_origin(hub, HOT, open_until=later, next_claim_at=later, failures=5, openings=1)
    add(hub, HOT, 1, at=now)
    assert row(hub, HOT).next_claim_at == later
    assert claim(hub) == []


def test_a_result_that_comes_while_the_breaker_is_open_waits_for_the_probe(
    hub: Sessions, now: datetime
) -> None:
    """Also when nothing was PENDING before: the last one was given up by the outcome that opened it."""
    later = now + timedelta(minutes=5)
    add(hub, HOT, 1, at=now)
    with hub.begin() as session:
        session.execute(update(Delivery).values(state="DISCARDED"))
    change_origin(hub, HOT, open_until=later, next_claim_at=None, failures=5, openings=1)
    add(hub, HOT, 1, at=now)
    assert row(hub, HOT).next_claim_at == later
    change_origin(hub, HOT, open_until=now, next_claim_at=now)
    assert len(claim(hub)) == 1


def test_a_probe_whose_worker_died_is_followed_by_another(hub: Sessions, now: datetime) -> None:
    """The probe is leased like any claim: when its lease ends, the origin is due again."""
    add(hub, HOT, 3, at=now - timedelta(minutes=2))
    change_origin(hub, HOT, open_until=now, next_claim_at=now, failures=5, openings=1)
    (probe,) = claim(hub)
    assert row(hub, HOT).next_claim_at == probe.leased_until
    past = now - timedelta(seconds=1)
    with hub.begin() as session:
        dead = update(Delivery).where(Delivery.id == probe.id)
        session.execute(dead.values(leased_until=past, next_attempt_at=past))
    change_origin(hub, HOT, next_claim_at=past)
    assert len(claim(hub)) == 1


def test_a_good_probe_closes_the_breaker_for_all(hub: Sessions, now: datetime) -> None:
    """Its limit grows again from where it was."""
    add(hub, HOT, 10, at=now)
    change_origin(hub, HOT, open_until=now, next_claim_at=now, failures=5, openings=4, concurrency=1)
    finish(hub, claim(hub), GOOD, state="DELIVERED")
    origin = row(hub, HOT)
    assert (origin.failures, origin.openings, origin.open_until, origin.concurrency) == (0, 0, None, 2)
    assert len(claim(hub)) == 2


def test_origins_share_the_free_slots(hub: Sessions, now: datetime) -> None:
    """A backlog of one origin leaves the others their part."""
    add(hub, HOT, 300, at=now - timedelta(hours=1))
    change_origin(hub, HOT, concurrency=64)
    names = [f"https://r{number}.example:443" for number in range(5)]
    for name in names:
        add(hub, name, 2, at=now)
    assert by_origin(claim(hub, free=12)) == dict.fromkeys([HOT, *names], 2)


def test_an_origin_that_gives_no_slot_back_gets_no_more(hub: Sessions, now: datetime) -> None:
    """One hangs, three answer: with half more than its part it has enough, and stands in nobody's way."""
    others = [COLD, "https://third.example:443", "https://fourth.example:443"]
    for name in (HOT, *others):
        add(hub, name, 60, at=now)
        change_origin(hub, name, concurrency=64)
    leases = claim(hub, free=16)
    held = [by_origin(leases)[HOT]]
    for _ in range(4):
        answered = [lease for lease in leases if lease.origin != HOT]
        finish(hub, answered, GOOD, state="DELIVERED")
        leases = claim(hub, free=len(answered))
        held.append(held[-1] + by_origin(leases).get(HOT, 0))

    assert held == [4, 6, 6, 6, 6]
    assert {row(hub, name).next_claim_at for name in (HOT, *others)} == {row(hub, COLD).next_claim_at}


def test_who_had_a_turn_waits_behind_who_had_not(hub: Sessions, now: datetime) -> None:
    """With one free slot at a time three origins are served in rotation, although one is an hour behind."""
    names = {HOT: now - timedelta(hours=1), COLD: now, "https://third.example:443": now}
    for name, at in names.items():
        add(hub, name, 9, at=at)
        change_origin(hub, name, next_claim_at=at)
    order = [lease.origin for _ in range(6) for lease in claim(hub, free=1)]
    assert order[0] == HOT
    assert set(order[:3]) == set(names)
    assert order[3:] == order[:3]


def test_a_thousand_origins_are_all_served(hub: Sessions, now: datetime) -> None:
    """A claim looks at 32 of them; the next ones follow in the order in which they waited."""
    wanted = set()
    for number in range(80):
        wanted |= set(add(hub, f"https://r{number}.example:443", 1, at=now))
    served: list[str] = []
    while leases := claim(hub):
        assert len(leases) <= 32
        served += [lease.id for lease in leases]
    assert sorted(served) == sorted(wanted)


@pytest.mark.parametrize(("chance", "first"), [(0.0, 10), (0.33, 10), (0.34, 0), (0.99, 0)])
def test_first_attempts_are_not_starved_by_retries(
    hub: Sessions, now: datetime, chance: float, first: int
) -> None:
    """Behind older retries, a third of the claims serves results that were never tried, and then the rest."""
    retries = set(add(hub, HOT, 60, at=now - timedelta(hours=1), attempt_count=3))
    fresh = set(add(hub, HOT, 10, at=now))
    change_origin(hub, HOT, concurrency=30)
    taken = {lease.id for lease in claim(hub, chance=chance)}
    assert (len(taken & fresh), len(taken & retries)) == (first, 30 - first)


def test_an_origin_whose_row_is_held_is_waited_for(postgresql_url: str, now: datetime) -> None:
    """Somebody records for the only origin at this moment: the claim comes after, not a second later."""
    engine = make_engine(postgresql_url)
    sessions = make_sessions(engine)
    with sessions.begin() as session:
        add_gateway(session)
    add(sessions, HOT, 1, at=now)
    with ThreadPoolExecutor() as pool:
        with sessions.begin() as session:
            origins.lock(session, origins=[HOT])
            claimed = pool.submit(claim, sessions)
            blocked = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            while not session.execute(blocked).scalar_one():
                pass
        assert len(claimed.result()) == 1
    engine.dispose()


def test_a_receiver_that_took_nothing_lately_begins_with_sixteen(hub: Sessions, now: datetime) -> None:
    """Its limit is still 64, and it has it again with its first delivery."""
    add(hub, HOT, 100, at=now)
    change_origin(hub, HOT, concurrency=64, delivered_at=now - timedelta(seconds=2))
    leases = claim(hub)
    assert len(leases) == 16
    finish(hub, leases[:1], GOOD, state="DELIVERED")
    assert len(claim(hub)) == 64 - 15


def test_slots_are_kept_for_receivers_that_answer(hub: Sessions, now: datetime) -> None:
    """Any number of hosts that never took anything leaves the reserve to those that did."""
    for number in range(20):
        add(hub, f"https://tarpit{number}.example:443", 4, at=now - timedelta(minutes=1))
    add(hub, COLD, 10, at=now)
    change_origin(hub, COLD, concurrency=8)
    taken = by_origin(claim(hub, free=30, reserve=20))
    assert taken.pop(COLD) == 8
    assert sum(taken.values()) == 10
    assert claim(hub, free=20, reserve=20) == []


def test_the_reserve_is_reached_past_any_number_that_waits(hub: Sessions, now: datetime) -> None:
    """More hosts wait for a slot than one claim looks at; the one that answers is served all the same."""
    for number in range(40):
        add(hub, f"https://tarpit{number}.example:443", 1, at=now - timedelta(minutes=1))
        change_origin(hub, f"https://tarpit{number}.example:443", next_claim_at=now - timedelta(minutes=1))
    add(hub, COLD, 2, at=now)
    change_origin(hub, COLD, concurrency=8, next_claim_at=now)
    assert by_origin(claim(hub, free=20, reserve=20)) == {COLD: 2}


def test_a_claim_is_bounded(hub: Sessions, now: datetime) -> None:
    """However many are free and due, one transaction takes 200 at most."""
    for number in range(4):
        name = f"https://r{number}.example:443"
        add(hub, name, 60, at=now)
        change_origin(hub, name, concurrency=64)
    assert len(claim(hub, free=1000)) == LARGEST_CLAIM


def test_the_limit_is_never_exceeded_by_many_workers(hub: Sessions, now: datetime) -> None:
    """Eight workers that claim at once hold the limit of each origin exactly, and share all that is due."""
    for name in (HOT, COLD):
        add(hub, name, 60, at=now)
        change_origin(hub, name, concurrency=5)
    exceeded: list[int] = []
    taken: list[str] = []
    barrier = threading.Barrier(8)

    def run() -> None:
        barrier.wait()
        idle = 0
        while idle < 3:
            leases = claim(hub, most=5)
            idle = 0 if leases else idle + 1
            taken.extend(lease.id for lease in leases)
            with hub() as session:
                for name in (HOT, COLD):
                    count = origins.in_flight(session, origins=[name], now=datetime.now(UTC))[name].count
                    exceeded.extend([count] if count > 5 else [])
            if leases:
                finish(hub, leases, GOOD, state="DELIVERED")

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken += [lease.id for lease in claim(hub)]
    assert exceeded == []
    assert len(taken) == len(set(taken))
    with hub() as session:
        left = session.scalars(select(func.count()).where(Delivery.state == "PENDING")).one()
    assert len(taken) + left >= 120


def test_an_open_origin_with_nothing_to_send_is_looked_at_no_more(hub: Sessions, now: datetime) -> None:
    """A claim that comes upon it, due for what has been given up meanwhile, puts it to rest."""
    add(hub, HOT, 1, at=now)
    with hub.begin() as session:
        session.execute(update(Delivery).values(state="DISCARDED"))
    change_origin(hub, HOT, open_until=now + timedelta(minutes=5), next_claim_at=now, failures=5, openings=1)
    assert claim(hub) == []
    assert row(hub, HOT).next_claim_at is None


@pytest.mark.parametrize(
    ("due", "taken", "statements"), [pytest.param(3, 60, 6, id="all"), pytest.param(9, 80, 5, id="limits")]
)
def test_a_claim_sends_a_fixed_number_of_statements(
    hub: Sessions, now: datetime, due: int, taken: int, statements: int
) -> None:
    """Whatever it takes, it costs six, and one less when it fills all origins to their limits; on SQLite,
    where one costs little, one for each origin and BEGIN.
    """
    for number in range(20):
        add(hub, f"https://r{number}.example:443", due, at=now)
    sent: list[str] = []
    engine = hub.kw["bind"]

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    assert len(claim(hub)) == taken
    event.remove(engine, "before_cursor_execute", note)
    assert len(sent) == (statements if engine.dialect.name == "postgresql" else statements + 20)


def test_an_origin_that_is_filled_by_its_last_one_sleeps_until_there_are_more(
    hub: Sessions, now: datetime
) -> None:
    """The claim does not look what else is due; the record does, and a new result comes at once."""
    add(hub, HOT, 4, at=now)
    leases = claim(hub)
    assert row(hub, HOT).next_claim_at == leases[0].leased_until
    finish(hub, leases, GOOD, state="DELIVERED")
    assert row(hub, HOT).next_claim_at is None
    add(hub, HOT, 1, at=now)
    assert len(claim(hub)) == 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "claim", "good", "dead", "give up", "resend", "wait"]), st.booleans()
        )
    )
)
def test_no_pending_delivery_is_ever_out_of_sight(hub: Sessions, steps: list[tuple[str, bool]]) -> None:
    """Whatever happens in whatever order, a claim will look at each origin with something PENDING in time."""
    with hub.begin() as session:
        for table in (Delivery, Origin):
            session.execute(delete(table))
    moment = datetime.now(UTC)
    flying: list[deliveries.Lease] = []
    for step, other in steps:
        origin = COLD if other else HOT
        match step:
            case "add":
                add(hub, origin, 1, at=moment)
            case "claim":
                flying += claim(hub, most=3)
            case "good" | "dead" | "give up":
                mine, flying = (
                    [one for one in flying if one.origin == origin],
                    [one for one in flying if one.origin != origin],
                )
                state = {"good": "DELIVERED", "dead": "PENDING", "give up": "DISCARDED"}[step]
                if mine:
                    finish(hub, mine, GOOD if step == "good" else DEAD, state=state)
            case "resend":
                with hub.begin() as session:
                    ended = Delivery.state.in_(["DELIVERED", "DISCARDED"]) & (Delivery.origin == origin)
                    again = update(Delivery).where(ended).values(state="PENDING", next_attempt_at=moment)
                    if session.execute(again.returning(Delivery.id)).first() is not None:
                        origins.make_due(session, origins=[origin], now=moment)
            case _:
                with hub.begin() as session:
                    session.execute(
                        update(Origin).where(Origin.open_until.is_not(None)).values(open_until=moment)
                    )
                    session.execute(
                        update(Origin).where(Origin.next_claim_at.is_not(None)).values(next_claim_at=moment)
                    )
        in_sight(hub)


def in_sight(sessions: Sessions) -> None:
    """Assert that each origin with something PENDING is looked at in time."""
    with sessions() as session:
        pending = session.execute(
            select(Delivery.origin, func.min(Delivery.next_attempt_at), func.min(Delivery.leased_until))
            .where(Delivery.state == "PENDING")
            .group_by(Delivery.origin)
        ).all()
        for origin, due, first_end in pending:
            found = session.get_one(Origin, origin)
            assert found.next_claim_at is not None
            latest = max(
                at for at in (due, first_end, found.open_until, found.last_used_at) if at is not None
            )
            assert found.next_claim_at <= max(latest, datetime.now(UTC))
