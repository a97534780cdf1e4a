"""What was given up in a stretch of time is sent again under its old ids, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from tests.factory import NOW, ORIGIN, add_delivery, add_gateway
from worker import recovery
from worker.db.models import Delivery, Origin
from worker.db.session import Sessions
from worker.recovery import count_by_origin, recover

HOUR = timedelta(hours=1)
OTHER = "https://other.example:443"


@pytest.fixture
def given_up(sessions: Sessions) -> Sessions:
    """Give deliveries that were discarded at -2 h, -1 h, now and, at another origin, -1 h."""
    with sessions.begin() as session:
        add_gateway(session)
        for name, hours, origin in (("a", 2, ORIGIN), ("b", 1, ORIGIN), ("c", 0, ORIGIN), ("d", 1, OTHER)):
            add_delivery(
                session,
                id=f"msg_{name}",
                origin=origin,
                state="DISCARDED",
                discarded_at=NOW - hours * HOUR,
                discard_reason="given up",
                attempt_count=11,
                claims=11,
            )
        add_delivery(session, id="msg_e", state="DELIVERED", delivered_at=NOW - HOUR)
    return sessions


def pending(sessions: Sessions) -> list[str]:
    """Return the ids of all PENDING deliveries."""
    with sessions() as session:
        return sorted(session.scalars(select(Delivery.id).where(Delivery.state == "PENDING")))


@pytest.mark.parametrize(
    ("since", "until", "origin", "ids"),
    [
        (NOW - 9 * HOUR, NOW + HOUR, None, ["msg_a", "msg_b", "msg_c", "msg_d"]),
        (NOW - HOUR, NOW, None, ["msg_b", "msg_d"]),
        (NOW - HOUR, NOW, OTHER, ["msg_d"]),
        (NOW + HOUR, NOW + 2 * HOUR, None, []),
    ],
)
def test_the_range_and_the_origin_choose(
    given_up: Sessions, since: datetime, until: datetime, origin: str | None, ids: list[str]
) -> None:
    """From `since` to before `until`; the count says beforehand how many, and changes nothing."""
    assert sum(count_by_origin(given_up, since=since, until=until, origin=origin).values()) == len(ids)
    assert pending(given_up) == []
    assert sum(recover(given_up, since=since, until=until, origin=origin)) == len(ids)
    assert pending(given_up) == ids


def test_origins_are_counted_each(given_up: Sessions) -> None:
    """The most first, over the whole range, however many one call takes."""
    since, until = NOW - 9 * HOUR, NOW + HOUR
    counted = count_by_origin(given_up, since=since, until=until)
    assert list(counted.items()) == [(ORIGIN, 3), (OTHER, 1)]
    assert count_by_origin(given_up, since=since, until=until, origin=OTHER) == {OTHER: 1}
    assert count_by_origin(given_up, since=NOW + HOUR, until=NOW + 2 * HOUR) == {}


def test_a_recovered_delivery_begins_its_schedule_anew(given_up: Sessions) -> None:
    """It is due at once under its id, its numbers go on, and its origin is looked at."""
    list(recover(given_up, since=NOW, until=NOW + HOUR))
    with given_up() as session:
        found = session.get_one(Delivery, "msg_c")
        assert (found.attempt_count, found.claims, found.trigger) == (0, 11, "recover")
        assert (found.discarded_at, found.discard_reason, found.leased_until) == (None, None, None)
        assert found.next_attempt_at <= datetime.now(UTC)
        assert session.scalars(select(Origin.next_claim_at)).one() == found.next_attempt_at


def test_it_goes_in_groups_up_to_the_most_of_one_call(
    given_up: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each group is a transaction of its own, oldest first; what is over the most waits for the next call."""
    monkeypatch.setattr(recovery, "GROUP", 2)
    monkeypatch.setattr(recovery, "MOST", 3)
    assert list(recover(given_up, since=NOW - 9 * HOUR, until=NOW + HOUR)) == [2, 1]
    assert pending(given_up) == ["msg_a", "msg_b", "msg_d"]
    assert list(recover(given_up, since=NOW - 9 * HOUR, until=NOW + HOUR)) == [1]


def test_a_second_recovery_finds_nothing(given_up: Sessions) -> None:
    """What is PENDING already is left to its schedule: no double send."""
    list(recover(given_up, since=NOW - 9 * HOUR, until=NOW + HOUR))
    assert list(recover(given_up, since=NOW - 9 * HOUR, until=NOW + HOUR)) == []
