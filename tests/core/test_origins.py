"""An origin's limit and breaker follow from its outcomes alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.origins import (
    FAILURES_TO_OPEN,
    LONGEST_OPENING,
    Breaker,
    OriginHealth,
    after,
    breaker,
    capacity,
    most_to_hold,
    next_claim_at,
    share,
)
from worker.core.verdicts import Answered, Failed, PostError, PostOutcome

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MOST = 64
HOST_ERRORS = (
    PostError.DNS,
    PostError.REFUSED,
    PostError.CONNECT_TIMEOUT,
    PostError.READ_TIMEOUT,
    PostError.DEADLINE,
    PostError.TLS,
)
NO_WORD_OF_THE_RECEIVER = (PostError.BLOCKED_ADDRESS, PostError.INVALID_URL, PostError.INTERNAL)


def answered(code: int) -> Answered:
    """Return an answer."""
    return Answered(status_code=code, retry_after=None, excerpt="")


def failed(error: PostError) -> Failed:
    """Return a failure."""
    return Failed(error=error, detail="")


OUTCOMES = [answered(code) for code in range(200, 600)] + [failed(error) for error in PostError]


def follow(health: OriginHealth, *outcomes: PostOutcome, at: datetime = NOW) -> OriginHealth:
    """Return the health after several outcomes at one moment."""
    for outcome in outcomes:
        health = after(health, outcome, most=MOST, now=at)
    return health


@pytest.mark.parametrize(
    ("outcome", "limit"),
    [
        (answered(200), 21),
        (answered(204), 21),
        (answered(299), 21),
        (answered(301), 20),
        (answered(400), 20),
        (answered(404), 20),
        (answered(408), 10),
        (answered(410), 20),
        (answered(425), 10),
        (answered(429), 10),
        (answered(500), 10),
        (answered(503), 10),
        (answered(599), 10),
        *((failed(error), 10) for error in PostError if error not in NO_WORD_OF_THE_RECEIVER),
        *((failed(error), 20) for error in NO_WORD_OF_THE_RECEIVER),
    ],
)
def test_the_limit_grows_with_deliveries_and_is_halved_by_transient_failures(
    outcome: PostOutcome, limit: int
) -> None:
    """Other answers say nothing about how much the receiver can take, nor does what we lack ourselves."""
    assert follow(OriginHealth(concurrency=20), outcome).concurrency == limit


def test_the_limit_stays_between_one_and_the_most() -> None:
    """A new origin begins with 4; 64 deliveries reach the most, ten failures the least."""
    assert capacity(OriginHealth(), most=MOST, now=NOW) == 4
    assert capacity(OriginHealth(concurrency=MOST), most=MOST, now=NOW) == 16
    full = follow(OriginHealth(), *[answered(200)] * 100)
    assert full.concurrency == MOST
    assert follow(full, *[answered(500)] * 10).concurrency == 1
    assert capacity(replace(full, concurrency=500, delivered_at=NOW), most=MOST, now=NOW) == MOST
    assert after(replace(full, concurrency=500), answered(500), most=MOST, now=NOW).concurrency == 32


@pytest.mark.parametrize(
    "outcome",
    [*(failed(error) for error in HOST_ERRORS), *(answered(code) for code in (429, 502, 503, 504))],
    ids=str,
)
def test_the_fifth_failure_of_the_host_opens_the_breaker(outcome: PostOutcome) -> None:
    """For 30 s nothing is claimed for it."""
    four = follow(OriginHealth(), *[outcome] * 4)
    assert (four.failures, four.open_until) == (4, None)
    five = follow(four, outcome)
    assert (five.failures, five.openings, five.open_until) == (5, 1, NOW + timedelta(seconds=30))
    assert capacity(five, most=MOST, now=NOW + timedelta(seconds=29)) == 0
    assert capacity(five, most=MOST, now=NOW + timedelta(seconds=30)) == 1


@pytest.mark.parametrize(
    ("silent_for", "limit"), [(timedelta(milliseconds=1999), 64), (timedelta(seconds=2), 16)]
)
def test_one_that_fell_silent_gets_sixteen_until_it_takes_one(silent_for: timedelta, limit: int) -> None:
    """A receiver that begins to hang would otherwise gather slots until its first request's timeout."""
    health = OriginHealth(concurrency=64, delivered_at=NOW)
    assert capacity(health, most=MOST, now=NOW + silent_for) == limit
    again = after(health, answered(200), most=MOST, now=NOW + silent_for)
    assert capacity(again, most=MOST, now=NOW + silent_for) == 64


def test_a_breaker_is_closed_open_or_probing() -> None:
    """Open until its time has come, to the microsecond; then it probes until an answer closes it."""
    opened = follow(OriginHealth(), *[answered(503)] * 5)
    then = NOW + timedelta(seconds=30)
    assert breaker(OriginHealth(failures=4), now=NOW) is Breaker.CLOSED
    assert breaker(opened, now=then - timedelta(microseconds=1)) is Breaker.OPEN
    assert breaker(opened, now=then) is Breaker.PROBING
    assert breaker(follow(opened, answered(404), at=then), now=then) is Breaker.CLOSED


@pytest.mark.parametrize("code", [200, 301, 404, 410, 500, 501, 505])
def test_any_other_answer_resets_the_count(code: int) -> None:
    """One path's 500s at a shared host hold nobody else up: the host answers."""
    assert follow(OriginHealth(failures=4), answered(code)).failures == 0
    probed = OriginHealth(failures=5, openings=3, open_until=NOW)
    assert follow(probed, answered(code)).openings == 0
    assert follow(probed, answered(code)).open_until is None


@pytest.mark.parametrize("error", sorted(PostError))
def test_a_probe_that_brings_no_answer_opens_again(error: PostError) -> None:
    """Also when it broke off half-way or failed on our side: nothing has shown that the host is back."""
    probing = OriginHealth(failures=5, openings=1, open_until=NOW)
    again = follow(probing, failed(error))
    assert (again.openings, again.open_until) == (2, NOW + timedelta(minutes=1))


@pytest.mark.parametrize(
    "error", [PostError.RESET, PostError.PROTOCOL, PostError.INTERNAL, PostError.BLOCKED_ADDRESS]
)
def test_what_is_no_answer_and_no_sign_of_the_host_leaves_the_count(error: PostError) -> None:
    """A connection that breaks off half-way neither opens nor closes."""
    assert follow(OriginHealth(failures=3), failed(error)).failures == 3


def test_each_failed_probe_doubles_the_wait_to_15_minutes() -> None:
    """30 s, 1, 2, 4, 8, 15 and again 15 minutes, however long the host stays dead."""
    health = follow(OriginHealth(), *[answered(503)] * FAILURES_TO_OPEN)
    waits: list[float] = []
    moment = NOW
    for _ in range(40):
        assert health.open_until is not None
        waits.append((health.open_until - moment).total_seconds())
        moment = health.open_until
        health = follow(health, answered(503), at=moment)
    assert waits[:7] == [30, 60, 120, 240, 480, 900, 900]
    assert set(waits[7:]) == {900}


def test_what_was_in_flight_when_it_opened_does_not_open_it_further() -> None:
    """Sixty timeouts of one outage are one opening."""
    health = follow(OriginHealth(), *[failed(PostError.DEADLINE)] * 65)
    assert (health.openings, health.open_until, health.concurrency) == (1, NOW + timedelta(seconds=30), 1)


@given(st.lists(st.sampled_from(OUTCOMES)), st.integers(1, 1000), st.integers(0, 2000))
def test_no_order_of_outcomes_leaves_the_bounds(outcomes: list[PostOutcome], most: int, step: int) -> None:
    """The limit stays in 1…most, the wait within 15 minutes, and an open breaker always ends."""
    health = OriginHealth()
    moment = NOW
    for outcome in outcomes:
        health = after(health, outcome, most=most, now=moment)
        assert 1 <= health.concurrency <= max(most, OriginHealth().concurrency)
        assert 0 <= health.failures <= FAILURES_TO_OPEN
        assert (health.openings > 0) == (health.open_until is not None)
        if health.open_until is not None:
            assert health.open_until - moment <= LONGEST_OPENING
        moment += timedelta(seconds=step)


@pytest.mark.parametrize(
    ("due", "open_until", "expected"),
    [
        (None, None, None),
        (None, NOW + timedelta(minutes=1), None),
        (NOW - timedelta(hours=1), None, NOW),
        (NOW + timedelta(seconds=5), None, NOW + timedelta(seconds=5)),
        (NOW + timedelta(seconds=5), NOW + timedelta(seconds=30), NOW + timedelta(seconds=30)),
        (NOW + timedelta(minutes=5), NOW + timedelta(seconds=30), NOW + timedelta(minutes=5)),
    ],
)
def test_an_origin_is_looked_at_when_it_is_due_and_closed(
    due: datetime | None, open_until: datetime | None, expected: datetime | None
) -> None:
    """Never in the past, and not before its breaker lets a probe through."""
    assert next_claim_at(OriginHealth(open_until=open_until), due=due, now=NOW) == expected


def shared(free: int, wants: list[int], *, held: list[int]) -> list[int]:
    """Share as a claim does."""
    most = most_to_hold(free, wants, held=held)
    return share(free, wants, room=[most - has for has in held])


@pytest.mark.parametrize(
    ("free", "wants", "held", "grants"),
    [
        (10, [], [], []),
        (0, [5, 5], [0, 0], [0, 0]),
        (10, [3, 3], [0, 0], [3, 3]),
        (4, [100, 1, 100], [0, 0, 0], [2, 1, 1]),
        (2, [9, 9, 9], [0, 0, 0], [1, 1, 0]),
        (7, [0, -3, 9], [64, 64, 0], [0, 0, 7]),
        (100, [1000, 5, 40], [0, 0, 0], [55, 5, 40]),
        (6, [60, 60, 60], [4, 0, 0], [1, 3, 2]),
        (6, [60, 60, 60], [6, 0, 0], [0, 3, 3]),
        (3, [60, 60, 60], [2, 0, 0], [1, 1, 1]),
        (6, [60, 1, 1], [6, 0, 0], [4, 1, 1]),
        (512, [64] * 16, [0] * 16, [32] * 16),
        (8, [56, 64, 64, 64], [8, 0, 0, 0], [0, 3, 3, 2]),
    ],
)
def test_slots_are_shared_evenly(free: int, wants: list[int], held: list[int], grants: list[int]) -> None:
    """The modest get what they want, others share the rest, the first first; who holds much waits."""
    assert shared(free, wants, held=held) == grants


ASKING = st.lists(st.tuples(st.integers(-5, 100), st.integers(0, 100)), max_size=40)


@given(st.integers(0, 500), ASKING)
def test_no_slot_is_wasted_or_given_twice(free: int, asking: list[tuple[int, int]]) -> None:
    """As many as possible are granted; nobody goes far beyond its part while others want some."""
    wants, held = [want for want, _ in asking], [has for _, has in asking]
    grants = shared(free, wants, held=held)
    useful = [max(want, 0) for want in wants]
    assert sum(grants) == min(free, sum(useful))
    assert all(0 <= grant <= want for grant, want in zip(grants, useful, strict=True))
    even = (free + sum(held)) / max(1, sum(want > 0 for want in useful))
    together = list(zip(grants, useful, held, strict=True))
    raised = [has + grant for grant, _, has in together if grant]
    hungry = [has + grant for grant, want, has in together if grant < want]
    assert max(raised, default=0) <= max(4, 1.5 * even + 1) or min(hungry, default=1_000) >= 1.5 * even


@given(st.integers(0, 500), st.lists(st.integers(-5, 100), max_size=40))
def test_all_get_one_before_any_gets_two(free: int, wants: list[int]) -> None:
    """Where nobody holds anything yet and there is one for each."""
    grants = shared(free, wants, held=[0] * len(wants))
    if free >= len(wants):
        assert all(grant > 0 for grant, want in zip(grants, wants, strict=True) if want > 0)
