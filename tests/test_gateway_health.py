"""Trouble is the gateway's: it cools down for all workers, one probe heals it, each change is told once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from tests.factory import add_gateway
from tests.polling import Bench, seen
from worker.clients.portal import Portal
from worker.core.lifecycle import Status
from worker.core.wire import Bad, Good, Reply, Trouble
from worker.db.models import Gateway
from worker.db.session import Sessions
from worker.health import log_shift, record_reply

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BASE = timedelta(seconds=5)
GOOD = Good(observations={})
SECOND = timedelta(seconds=1)


def bad(trouble: Trouble = Trouble.SERVER_ERROR, *, retry_after: timedelta | None = None) -> Bad:
    """Return an answer that is none."""
    return Bad(trouble=trouble, message=f"said {trouble}", retry_after=retry_after)


class Hub:
    """A gateway's row, and what its answers make of it."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def answers(self, reply: Reply, *, at: datetime = NOW) -> None:
        """Record an answer as the poller does."""
        with self._sessions.begin() as session:
            shift = record_reply(session, name="hub", reply=reply, base=BASE, now=at)
        if shift is not None:
            log_shift(shift)

    @property
    def row(self) -> Gateway:
        """What all workers see."""
        with self._sessions() as session:
            return session.scalars(select(Gateway)).one()

    def wait(self, *, since: datetime) -> timedelta:
        """Return how long nobody may ask it."""
        until = self.row.cooling_until
        assert until is not None
        return until - since


@pytest.fixture
def hub(sessions: Sessions) -> Hub:
    """Give a gateway that is well."""
    with sessions.begin() as session:
        add_gateway(session)
    return Hub(sessions)


@pytest.fixture
def elsewhere(sessions: Sessions) -> Iterator[Bench]:
    """Give a worker in another process: same database, an event loop of its own."""
    portal = Portal.start()
    yield Bench(sessions=sessions, portal=portal)
    portal.close()


def test_each_failed_probe_doubles_the_cool_down(hub: Hub) -> None:
    """5 s, 10 s, 20 s … and at most 5 minutes, each with up to a fifth more."""
    at, waits = NOW, []
    for _ in range(9):
        hub.answers(bad(), at=at)
        waits.append(hub.wait(since=at) / SECOND)
        at += hub.wait(since=at)

    for wait, least in zip(waits, [5, 10, 20, 40, 80, 160, 300, 300, 300], strict=True):
        assert least <= wait <= least * 1.2
    assert len({round(wait / least, 6) for wait, least in zip(waits, [5, 10, 20, 40], strict=False)}) > 1


def test_a_burst_of_bad_answers_is_one_failure(hub: Hub) -> None:
    """Four requests were under way when it failed: the cool-down is the first one's, not the fourth's."""
    for milliseconds in range(4):
        hub.answers(bad(), at=NOW + timedelta(milliseconds=milliseconds))

    assert hub.row.failures == 1
    assert hub.wait(since=NOW) <= BASE * 1.2 + SECOND


def test_a_refused_key_waits_from_a_minute_to_a_quarter_of_an_hour(hub: Hub) -> None:
    """A key heals by a person's hand."""
    at, waits = NOW, []
    for _ in range(6):
        hub.answers(bad(Trouble.UNAUTHORIZED), at=at)
        waits.append(hub.wait(since=at) / SECOND)
        at += hub.wait(since=at)

    for wait, least in zip(waits, [60, 120, 240, 480, 900, 900], strict=True):
        assert least <= wait <= least * 1.2


@pytest.mark.parametrize(
    ("asked", "kept"),
    [(timedelta(minutes=3), 180), (timedelta(hours=5), 900), (timedelta(seconds=1), 5), (None, 5)],
)
def test_retry_after_is_honoured_up_to_a_quarter_of_an_hour(
    hub: Hub, asked: timedelta | None, kept: float
) -> None:
    """A gateway may ask for more than its cool-down, never for less, and not for ever."""
    hub.answers(bad(Trouble.RATE_LIMITED, retry_after=asked))

    assert kept <= hub.wait(since=NOW) / SECOND <= max(kept, 6)


def test_a_later_bad_answer_never_shortens_the_wait(hub: Hub) -> None:
    """Retry-After of one request holds although another of the same burst asks for nothing."""
    hub.answers(bad(Trouble.RATE_LIMITED, retry_after=timedelta(minutes=3)))
    hub.answers(bad(), at=NOW + SECOND)

    assert hub.wait(since=NOW) == timedelta(minutes=3)


def test_a_good_answer_forgets_all(hub: Hub) -> None:
    """The next trouble starts with the shortest cool-down again."""
    hub.answers(bad(Trouble.UNAUTHORIZED))
    hub.answers(GOOD, at=NOW + timedelta(minutes=2))

    row = hub.row
    assert (row.failures, row.trouble, row.cooling_until) == (0, None, None)
    assert (row.last_error, row.last_error_at) == (None, None)
    hub.answers(bad(), at=NOW + timedelta(minutes=3))
    assert hub.wait(since=NOW + timedelta(minutes=3)) <= BASE * 1.2


def test_a_good_answer_under_way_does_not_end_a_cool_down(hub: Hub) -> None:
    """It was asked for before the trouble came: what the gateway asked us to wait is waited."""
    hub.answers(bad(Trouble.RATE_LIMITED))
    until = hub.row.cooling_until
    hub.answers(GOOD, at=NOW + timedelta(seconds=1))

    assert (hub.row.failures, hub.row.cooling_until) == (1, until)


def test_a_refused_key_is_told_loudly_and_once(hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    """One ERROR when it begins, naming the variable; one line when it ends; in between only INFO."""
    with caplog.at_level(logging.INFO):
        hub.answers(bad(Trouble.SERVER_ERROR))
        hub.answers(bad(Trouble.UNAUTHORIZED), at=NOW + timedelta(minutes=1))
        hub.answers(bad(Trouble.UNAUTHORIZED), at=NOW + timedelta(minutes=9))
        hub.answers(bad(Trouble.UNAUTHORIZED), at=NOW + timedelta(minutes=19))
        hub.answers(GOOD, at=NOW + timedelta(minutes=40))
        hub.answers(GOOD, at=NOW + timedelta(minutes=41))

    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR", "INFO", "INFO", "INFO"]
    loud, last = caplog.records[1].getMessage(), caplog.records[-1].getMessage()
    assert loud.startswith("gateway=hub trouble=unauthorized cooling_until=2026-11-21T12:0")
    assert "its tasks stay as they are: said unauthorized; check WORKER_GATEWAYS__HUB__API_KEY" in loud
    assert last == "gateway=hub is well again"


def test_a_gateway_that_is_well_is_not_written_or_mentioned(
    hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    """Good answers cost no line."""
    with caplog.at_level(logging.INFO):
        hub.answers(GOOD)
        hub.answers(GOOD)

    assert caplog.records == []


@pytest.mark.parametrize("trouble", [one for one in Trouble if one is not Trouble.REFUSED])
def test_what_one_worker_learns_all_keep_to(bench: Bench, elsewhere: Bench, trouble: Trouble) -> None:
    """After a bad answer of any kind at one worker, another asks nothing; no task changes."""
    bench.add("a")
    bench.add("b")
    bench.client.replies = elsewhere.client.replies = {"a": bad(trouble), "b": bad(trouble)}

    bench.poll()
    asked = len(bench.client.asked)
    elsewhere.poll()
    bench.poll()

    assert (len(bench.client.asked), elsewhere.client.asked) == (asked, [])
    assert bench.gateway().trouble == trouble
    assert {bench.task(name).status for name in "ab"} == {"SUBMITTED"}


def test_one_probe_at_a_time_over_all_workers(bench: Bench, elsewhere: Bench) -> None:
    """While one worker probes, another asks nothing; the probe's good answer opens the gateway for both."""
    alone = bench.polled("hub", batch_size=1)  # so that six batches stay six requests
    for name in "abcdef":
        bench.add(name)
    bench.client.replies = dict.fromkeys("abcdef", bad())
    bench.poll(alone)
    bench.make_due()
    bench.client.asked.clear()
    bench.client.replies = {name: seen(Status.SUCCESS, data="1") for name in "abcdef"}
    other = elsewhere.poller(alone)
    in_flight: list[int] = []
    taken: list[object] = []

    def look_elsewhere() -> None:
        in_flight.append(sum(batch.leased_until is not None for batch in bench.batches()))
        if len(in_flight) == 1:
            taken.extend(other.claim(free=4).items)

    bench.client.meanwhile = look_elsewhere
    bench.poll(alone)

    assert (in_flight[0], taken) == (1, [])
    assert len(bench.client.asked) == 6
    assert bench.gateway().failures == 0


def test_a_failed_probe_closes_it_for_all_again(bench: Bench, elsewhere: Bench) -> None:
    """Longer than before, and nobody else asks it meanwhile."""
    for name in "abc":
        bench.add(name)
    bench.client.replies = elsewhere.client.replies = dict.fromkeys("abc", bad())
    bench.poll()
    bench.make_due()
    bench.client.asked.clear()

    elsewhere.poll()
    bench.poll()

    assert (len(elsewhere.client.asked), bench.client.asked) == (1, [])
    row = bench.gateway()
    assert row.failures == 2
    assert row.cooling_until is not None
    assert row.last_error_at is not None
    assert timedelta(seconds=10) <= row.cooling_until - row.last_error_at <= timedelta(seconds=12)
