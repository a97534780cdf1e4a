"""What people are told of receivers: trouble first, and which breaker a delivery waits behind."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.factory import NOW, ORIGIN, add_delivery, add_gateway, add_origin
from worker.core.origins import Breaker
from worker.db.origin_overview import Wait, count_not_closed, count_origins, read_receivers, read_waits
from worker.db.session import Sessions

MINUTE = timedelta(minutes=1)
WAIT = Wait(origin=ORIGIN, breaker=Breaker.OPEN, open_until=NOW + MINUTE)


@pytest.fixture
def troubled(sessions: Sessions) -> Sessions:
    """Give an origin whose breaker is open for a minute."""
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session, failures=5, openings=1, open_until=NOW + MINUTE)
    return sessions


def named(name: str) -> str:
    """Return an origin."""
    return f"https://{name}.example:443"


def test_trouble_comes_first(sessions: Sessions) -> None:
    """Breakers that opened most, then failures in a row, then those with work, then the last used."""
    with sessions.begin() as session:
        add_gateway(session)
        add_origin(session, origin=named("idle"), last_used_at=NOW - MINUTE)
        add_origin(session, origin=named("rested"))
        add_delivery(session, origin=named("busy"))
        add_origin(session, origin=named("failing"), failures=2)
        add_origin(session, origin=named("open"), failures=5, openings=1, open_until=NOW + MINUTE)
        add_origin(session, origin=named("dead"), failures=5, openings=9, open_until=NOW)
    with sessions() as session:
        found = read_receivers(session, limit=100, now=NOW)
        first = read_receivers(session, limit=2, now=NOW)
        assert count_origins(session) == 6

    order = ["dead", "open", "failing", "busy", "rested", "idle"]
    assert [one.origin for one in found] == [named(name) for name in order]
    assert [one.breaker for one in found] == ["probing", "open", *["closed"] * 4]
    assert first == found[:2]


def test_what_waits_and_what_is_in_flight_are_counted_for_each(sessions: Sessions) -> None:
    """Only PENDING deliveries and live leases of that origin."""
    with sessions.begin() as session:
        add_gateway(session)
        for minutes in (1, -1):
            add_delivery(session, leased_until=NOW + minutes * MINUTE)
        add_delivery(session)
        add_delivery(session, state="DELIVERED")
        add_delivery(session, origin=named("other"))
    with sessions() as session:
        found = {one.origin: one for one in read_receivers(session, limit=9, now=NOW)}

    assert (found[ORIGIN].pending, found[ORIGIN].in_flight) == (3, 1)
    assert (found[named("other")].pending, found[named("other")].in_flight) == (1, 0)


def test_a_delivery_waits_until_the_breakers_time(troubled: Sessions) -> None:
    """What is due before that time waits for the breaker; what is due after it waits for its own retry."""
    with troubled.begin() as session:
        due = add_delivery(session)
        soon = add_delivery(session, next_attempt_at=NOW + MINUTE)
        late = add_delivery(session, next_attempt_at=NOW + 2 * MINUTE)
        done = add_delivery(session, state="DELIVERED")
        well = add_delivery(session, origin=named("well"))
    ids = [due, soon, late, done, well]
    with troubled() as session:
        assert read_waits(session, delivery_ids=ids, now=NOW) == {due: WAIT, soon: WAIT}
        assert read_waits(session, delivery_ids=[], now=NOW) == {}


def test_the_probe_itself_does_not_wait(troubled: Sessions) -> None:
    """While one is being sent the others wait for it; when its worker died it waits with them."""
    then = NOW + MINUTE
    with troubled.begin() as session:
        probe = add_delivery(session, leased_until=then + MINUTE, next_attempt_at=then + MINUTE)
        other = add_delivery(session)
    probing = Wait(origin=ORIGIN, breaker=Breaker.PROBING, open_until=then)
    with troubled() as session:
        assert read_waits(session, delivery_ids=[probe, other], now=then) == {other: probing}
        both = read_waits(session, delivery_ids=[probe, other], now=then + MINUTE)
        assert both == {probe: probing, other: probing}


def test_a_breaker_counts_while_it_holds_something_back(troubled: Sessions) -> None:
    """Open until its time, with or without work; then only while deliveries wait for its probe."""
    with troubled() as session:
        assert count_not_closed(session, now=NOW) == 1
        assert count_not_closed(session, now=NOW + MINUTE) == 0
    with troubled.begin() as session:
        add_delivery(session)
        add_origin(session, next_claim_at=NOW + MINUTE)
    with troubled() as session:
        assert count_not_closed(session, now=NOW + MINUTE) == 1
