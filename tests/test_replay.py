"""A resend is the same delivery under the same id, and never a second send beside a live one."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from tests.factory import HOOK, NOW, add_batch, add_delivery, add_gateway, add_task
from worker.core.addresses import Allow
from worker.db.models import Delivery, Origin, SunoTask
from worker.db.session import Sessions
from worker.replay import AmbiguousError, NotWatchedError, Resent, What, resend
from worker.request import Refused

NEW = "https://new.example:8443/hook"


@pytest.fixture
def hub(sessions: Sessions) -> Sessions:
    """Give a database with two gateways."""
    with sessions.begin() as session:
        add_gateway(session)
        add_gateway(session, name="other")
    return sessions


def call(sessions: Sessions, *, gateway: str | None = None, notify_hook: str | None = None) -> Resent:
    """Resend the task `t` in a transaction of its own."""
    with sessions.begin() as session:
        return resend(session, task_id="t", gateway=gateway, notify_hook=notify_hook, allow=Allow())


def finished(sessions: Sessions, **columns: object) -> str:
    """Insert the finished task `t` with a delivery; return the delivery's id."""
    with sessions.begin() as session:
        row_id = add_task(session, task_id="t", status="SUCCESS", data="1")
        return add_delivery(session, suno_task_id=row_id, **columns)


def row(sessions: Sessions) -> Delivery:
    """Return the one delivery."""
    with sessions() as session:
        return session.scalars(select(Delivery)).one()


@pytest.mark.parametrize("state", ["DELIVERED", "DISCARDED"])
def test_an_ended_delivery_is_due_again_under_its_id(hub: Sessions, state: str) -> None:
    """Its schedule begins anew, and the numbers of its attempts go on."""
    ended = {"delivered_at": NOW, "discarded_at": NOW, "discard_reason": "x"}
    delivery_id = finished(
        hub, state=state, attempt_count=11, claims=11, next_attempt_at=NOW + timedelta(days=9000), **ended
    )
    assert call(hub) == Resent(task_id="t", gateway="hub", what=What.DUE_NOW, delivery_id=delivery_id)
    found = row(hub)
    assert (found.id, found.state, found.attempt_count, found.claims) == (delivery_id, "PENDING", 0, 11)
    assert (found.delivered_at, found.discarded_at, found.discard_reason) == (None, None, None)
    assert found.next_attempt_at < NOW + timedelta(days=9000)


def test_a_pending_delivery_is_hurried_and_keeps_its_place_in_the_schedule(hub: Sessions) -> None:
    """What waits for its next attempt is due now; no attempt is forgotten."""
    later = NOW + timedelta(days=9000)
    finished(hub, attempt_count=3, claims=3, next_attempt_at=later)
    assert call(hub).what is What.DUE_NOW
    assert (row(hub).attempt_count, row(hub).next_attempt_at < later) == (3, True)


def test_a_delivery_in_flight_is_left_alone(hub: Sessions) -> None:
    """It is being sent at this moment: a second claim would send it twice."""
    until = NOW + timedelta(days=9000)
    finished(hub, claims=1, next_attempt_at=until, leased_until=until)
    assert call(hub).what is What.IN_FLIGHT
    assert (row(hub).claims, row(hub).next_attempt_at, row(hub).leased_until) == (1, until, until)


def test_the_hook_of_a_delivery_in_flight_is_not_changed(hub: Sessions) -> None:
    """What the POST to the old hook brings would be taken for the new one's answer; nothing is changed."""
    until = NOW + timedelta(days=9000)
    finished(hub, claims=1, next_attempt_at=until, leased_until=until)
    with pytest.raises(
        Refused, match=r"^notify_hook: the result is being sent to the old one at this moment; "
    ):
        call(hub, notify_hook=NEW)
    assert row(hub).notify_hook == HOOK
    with hub() as session:
        assert session.scalars(select(SunoTask.notify_hook)).one() == HOOK


def test_a_hook_is_corrected_for_task_and_delivery(hub: Sessions) -> None:
    """The result goes to the new endpoint, whose origin has its row."""
    finished(hub, state="DISCARDED")
    call(hub, notify_hook=NEW)
    assert (row(hub).notify_hook, row(hub).origin) == (NEW, "https://new.example:8443")
    with hub() as session:
        assert session.scalars(select(SunoTask.notify_hook)).one() == NEW
        assert session.scalars(select(Origin.origin)).one() == "https://new.example:8443"


def test_an_unfinished_task_takes_a_new_hook(hub: Sessions) -> None:
    """Its result will go there; nothing is sent yet."""
    with hub.begin() as session:
        add_task(session, task_id="t")
    assert call(hub, notify_hook=NEW).what is What.HOOK_CORRECTED
    with hub() as session:
        assert session.scalars(select(SunoTask.notify_hook)).one() == NEW
        assert session.scalars(select(Delivery)).all() == []


def test_a_watched_only_task_can_be_sent_afterwards(hub: Sessions) -> None:
    """A hook named after the end makes the delivery that was not owed before."""
    with hub.begin() as session:
        add_task(session, task_id="t", status="FAILURE", notify_hook=None)
    with pytest.raises(Refused, match=r"^notify_hook: 't' has none; name one with --notify-hook URL$"):
        call(hub)
    made = call(hub, notify_hook=NEW)
    assert (row(hub).id, row(hub).state, row(hub).notify_hook) == (made.delivery_id, "PENDING", NEW)


def test_what_cannot_be_resent_is_said_and_changes_nothing(hub: Sessions) -> None:
    """Unknown, unfinished, ambiguous, and a forbidden hook."""
    with pytest.raises(NotWatchedError, match=r"^'t' is not watched$"):
        call(hub)
    with hub.begin() as session:
        batch_id = add_batch(session)
        add_task(session, task_id="t", poll_batch_id=batch_id)
    with pytest.raises(Refused, match=r"^task_id: 't' is not finished \(SUBMITTED\)"):
        call(hub)
    with pytest.raises(Refused, match=r"^notify_hook: "):
        call(hub, notify_hook="http://10.0.0.1/")
    with hub.begin() as session:
        add_task(session, task_id="t", gateway="other")
    with pytest.raises(AmbiguousError, match=r"^'t' is watched at several gateways: hub, other$") as caught:
        call(hub, notify_hook=NEW)
    assert caught.value.gateways == ("hub", "other")
    with pytest.raises(NotWatchedError, match=r"^'t' is not watched at gateway 'third'$"):
        call(hub, gateway="third")
    with hub() as session:
        assert set(session.scalars(select(SunoTask.notify_hook))) == {HOOK}
    assert call(hub, gateway="other", notify_hook=NEW).gateway == "other"
