"""A turn asks no further than its claim is known to hold."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from tests.polling import Bench, seen
from worker.attribution import Polled
from worker.batches import LEASE_MARGIN, ClaimedBatch
from worker.core.lifecycle import Status
from worker.core.wire import Fetch
from worker.db.models import PollBatch
from worker.poller import Poller

IDS = tuple("abcdef")
MARGIN_S = LEASE_MARGIN.total_seconds()


class Turn:
    """One claim of six ids, each asked for itself, step by step."""

    def __init__(self, bench: Bench) -> None:
        """Claim them."""
        bench.add(*IDS)
        bench.client.replies = {name: seen(Status.IN_PROGRESS) for name in IDS}
        self._bench = bench
        self.poller: Poller = bench.poller(bench.polled("hub", fetch=Fetch.SINGLE, batch_size=10))
        self.batch: ClaimedBatch = self.poller.claim(free=1).items[0]
        self._answers: AsyncIterator[Polled] = self.poller.call(self.batch)

    def step(self) -> Polled | None:
        """Return the next answer, or None when the turn is over."""

        async def step() -> Polled | None:
            return await anext(self._answers, None)

        return self._bench.portal.submit(step()).result()

    def record(self, polled: Polled | None) -> None:
        """Record an answer as the stream does."""
        assert polled is not None
        self.poller.record([(self.batch, polled)])

    @property
    def asked(self) -> int:
        """How many requests there were."""
        return len(self._bench.client.asked)


@pytest.fixture
def turn(bench: Bench) -> Turn:
    """Give a turn that has not asked yet."""
    return Turn(bench)


def test_a_turn_ends_when_a_record_comes_too_late(bench: Bench, turn: Turn) -> None:
    """Another worker has claimed the batch since, and asks about the same ids."""
    first = turn.step()
    with bench.sessions.begin() as session:
        session.execute(update(PollBatch).values(claims=PollBatch.claims + 1))
    turn.record(first)

    assert (turn.step(), turn.asked) == (None, 1)


def test_a_turn_ends_when_a_record_is_lost(bench: Bench, turn: Turn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then what the database holds; the lease ends by itself and the batch is asked again."""

    def fail(*_args: object, **_kwargs: object) -> None:
        raise IntegrityError("record", {}, Exception("no"))

    first = turn.step()
    monkeypatch.setattr("worker.recording.write_answers", fail)
    turn.record(first)

    assert (turn.step(), turn.asked) == (None, 1)
    assert bench.batches()[0].leased_until is not None


def test_no_request_begins_that_may_outlast_the_recorded_lease(
    turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While records wait for the database a turn goes on for the lease's margin; a record gives it more."""
    begun = turn.batch.holding.end - (MARGIN_S + 30)
    times = {"asking": begun, "poller": begun}
    monkeypatch.setattr("worker.asking.monotonic", lambda: times["asking"])
    monkeypatch.setattr("worker.recording.monotonic", lambda: times["poller"])

    first = turn.step()
    times["asking"] = begun + MARGIN_S
    assert turn.step() is not None
    times["poller"] = begun + 10
    turn.record(first)
    times["asking"] = begun + 10 + MARGIN_S
    assert turn.step() is not None
    times["asking"] += 0.001

    assert (turn.step(), turn.asked) == (None, 3)
