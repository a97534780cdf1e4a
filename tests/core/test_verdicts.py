from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.schedule import DEFAULT_RETRY_SCHEDULE, SUSPECT_SCHEDULE
from worker.core.verdicts import (
    Answered,
    Delivered,
    Discarded,
    Failed,
    PostError,
    PostOutcome,
    Retry,
    Verdict,
    is_delivered,
    is_transient,
    judge,
)

NOW = datetime(2026, 7, 7, 12, 0, tzinfo=UTC)


def verdict(outcome: PostOutcome, *, attempt_count: int = 1, jitter: float = 0) -> Verdict:
    """Judge one outcome by the default schedule."""
    return judge(
        outcome,
        attempt_count=attempt_count,
        retry_schedule=DEFAULT_RETRY_SCHEDULE,
        now=NOW,
        jitter=jitter,
    )


def answered(status_code: int, *, retry_after: str | None = None) -> Answered:
    """Build an answer."""
    return Answered(status_code=status_code, retry_after=retry_after, excerpt="")


@pytest.mark.parametrize("status_code", [200, 201, 202, 204, 226, 299])
@pytest.mark.parametrize("attempt_count", [1, 11, 99])
def test_any_2xx_delivers(status_code: int, attempt_count: int) -> None:
    """A 2xx ends a delivery well, also after all attempts."""
    assert verdict(answered(status_code), attempt_count=attempt_count) == Delivered()


def test_gone_is_gone() -> None:
    """410 discards at once."""
    assert verdict(answered(410)) == Discarded(reason="HTTP 410: the receiver wants no more of it")


TRANSIENT = [
    *[
        pytest.param(answered(code), f"HTTP {code}", id=str(code))
        for code in (408, 425, 429, 500, 502, 503, 504, 599)
    ],
    *[
        pytest.param(Failed(error=error, detail="why"), f"{error}: why", id=str(error))
        for error in PostError
        if error not in {PostError.BLOCKED_ADDRESS, PostError.INVALID_URL}
    ],
]


@pytest.mark.parametrize(("outcome", "what"), TRANSIENT)
def test_transient_outcomes_get_the_full_schedule(outcome: PostOutcome, what: str) -> None:
    """Ten waits, each after its attempt, then the delivery is discarded."""
    waits = [verdict(outcome, attempt_count=count) for count in range(1, 11)]

    assert waits == [Retry(at=NOW + wait) for wait in DEFAULT_RETRY_SCHEDULE]
    assert verdict(outcome, attempt_count=11) == Discarded(
        reason=f"given up after 11 attempts, the last: {what}"
    )


@pytest.mark.parametrize(
    "status_code", [100, 199, 300, 301, 302, 307, 308, 400, 401, 403, 404, 405, 409, 418, 422, 451, 499, 600]
)
def test_suspect_answers_get_a_short_one(status_code: int) -> None:
    """Redirects, most 4xx and what is no status at all: three waits."""
    waits = [verdict(answered(status_code), attempt_count=count) for count in range(1, 4)]

    assert waits == [Retry(at=NOW + wait) for wait in SUSPECT_SCHEDULE]
    assert verdict(answered(status_code), attempt_count=4) == Discarded(
        reason=f"given up after 4 attempts, the last: HTTP {status_code}",
    )


@pytest.mark.parametrize("error", [PostError.BLOCKED_ADDRESS, PostError.INVALID_URL])
def test_permanent_failures_are_discarded_at_once(error: PostError) -> None:
    """What no retry can heal gets none."""
    assert verdict(Failed(error=error, detail="why")) == Discarded(reason=f"{error}: why")


@pytest.mark.parametrize("attempt_count", [1, 4])
@pytest.mark.parametrize("error", [None, *PostError], ids=str)
def test_what_is_transient_is_what_gets_the_full_schedule(
    error: PostError | None, attempt_count: int
) -> None:
    """The two questions about an outcome agree with its verdict, for every status and every error."""
    codes = range(100, 600) if error is None else ()
    every: list[PostOutcome] = [answered(code) for code in codes]
    if error is not None:
        every.append(Failed(error=error, detail="why"))
    full = DEFAULT_RETRY_SCHEDULE[attempt_count - 1]

    for outcome in every:
        judged = verdict(outcome, attempt_count=attempt_count)
        assert is_delivered(outcome) is (judged == Delivered())
        assert is_transient(outcome) is (judged == Retry(at=NOW + full))


def test_the_count_alone_picks_the_step() -> None:
    """A suspect answer after five transient failures is the sixth attempt: its three waits are over."""
    assert verdict(answered(404), attempt_count=6) == Discarded(
        reason="given up after 6 attempts, the last: HTTP 404",
    )


def test_a_schedule_of_the_users_own() -> None:
    """Its length is the number of retries; an empty one retries nothing."""
    outcome = answered(500)
    own = (timedelta(seconds=1),)

    def by(schedule: tuple[timedelta, ...], attempt_count: int) -> Verdict:
        return judge(outcome, attempt_count=attempt_count, retry_schedule=schedule, now=NOW, jitter=0)

    assert by(own, 1) == Retry(at=NOW + timedelta(seconds=1))
    assert by(own, 2) == Discarded(reason="given up after 2 attempts, the last: HTTP 500")
    assert by((), 1) == Discarded(reason="given up after 1 attempts, the last: HTTP 500")


@pytest.mark.parametrize(
    ("status_code", "retry_after", "attempt_count", "wait"),
    [
        (429, "60", 1, timedelta(seconds=60)),
        (503, "60", 1, timedelta(seconds=60)),
        (503, "Tue, 07 Jul 2026 12:01:00 GMT", 1, timedelta(seconds=60)),
        (503, "3", 1, timedelta(seconds=5)),
        (503, "86400", 1, timedelta(hours=12)),
        (503, "86400", 10, timedelta(hours=24)),
        (503, "soon", 1, timedelta(seconds=5)),
        (500, "60", 1, timedelta(seconds=5)),
        (302, "3600", 1, timedelta(minutes=1)),
        (404, "3600", 1, timedelta(minutes=1)),
    ],
)
def test_retry_after_holds_a_delivery(
    status_code: int, retry_after: str, attempt_count: int, wait: timedelta
) -> None:
    """On 429 and 503 the later of it and the schedule counts, at most 12 h of it."""
    outcome = answered(status_code, retry_after=retry_after)

    assert verdict(outcome, attempt_count=attempt_count) == Retry(at=NOW + wait)


def test_retry_after_gives_no_attempt_more() -> None:
    """After the last attempt it holds nothing."""
    assert isinstance(verdict(answered(429, retry_after="60"), attempt_count=11), Discarded)


def test_jitter_is_added() -> None:
    """The wait after the first attempt is 5 s and up to 1 s."""
    assert verdict(answered(500), jitter=0.5) == Retry(at=NOW + timedelta(seconds=5.5))


outcomes = st.builds(
    Answered,
    status_code=st.integers(min_value=100, max_value=999),
    retry_after=st.none() | st.text(max_size=12) | st.integers(min_value=0).map(str),
    excerpt=st.just(""),
) | st.builds(Failed, error=st.sampled_from(PostError), detail=st.just("why"))


@given(
    outcome=outcomes,
    attempt_count=st.integers(min_value=1, max_value=30),
    jitter=st.floats(min_value=0, max_value=1, exclude_max=True),
)
def test_every_delivery_ends(outcome: PostOutcome, attempt_count: int, jitter: float) -> None:
    """Any outcome has a verdict; retries lie ahead, by a day and a quarter of an hour at most, and end."""
    result = verdict(outcome, attempt_count=attempt_count, jitter=jitter)

    if isinstance(result, Retry):
        assert timedelta(seconds=5) <= result.at - NOW <= timedelta(days=1, minutes=15)
        assert attempt_count <= len(DEFAULT_RETRY_SCHEDULE)
