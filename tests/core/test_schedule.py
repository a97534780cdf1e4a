from __future__ import annotations

import doctest
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core import schedule
from worker.core.lifecycle import Action
from worker.core.schedule import (
    DEFAULT_RETRY_SCHEDULE,
    SUSPECT_SCHEDULE,
    cadence,
    cooldown,
    first_poll_delay,
    next_poll_wait,
    parse_retry_after,
    poll_interval,
    retry_wait,
)
from worker.core.wire import Trouble

NOW = datetime(2026, 7, 7, 12, 0, tzinfo=UTC)
TEN = timedelta(seconds=10)
FIVE = timedelta(seconds=5)
jitters = st.floats(min_value=0, max_value=1, exclude_max=True)
durations = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=30))


def seconds(*values: float) -> tuple[timedelta, ...]:
    """Build durations."""
    return tuple(timedelta(seconds=value) for value in values)


def test_the_examples_run() -> None:
    """What the module's docstring shows is true."""
    assert doctest.testmod(schedule) == doctest.TestResults(failed=0, attempted=2)


def test_the_retry_schedules() -> None:
    """Eleven attempts in 46 h 42 min 35 s; four for suspect answers."""
    assert seconds(5, 30, 120, 600, 1800, 3600, 10800, 21600, 43200, 86400) == DEFAULT_RETRY_SCHEDULE
    assert sum(DEFAULT_RETRY_SCHEDULE, timedelta()) == timedelta(hours=46, minutes=42, seconds=35)
    assert seconds(60, 600, 3600) == SUSPECT_SCHEDULE


@pytest.mark.parametrize(
    ("base", "longest"),
    [(0, 1), (1, 2), (5, 6), (6, 7.2), (30, 36), (120, 144), (4500, 5400), (86400, 87300)],
)
def test_a_retry_waits_its_base_and_some_more(base: float, longest: float) -> None:
    """A fifth of the base is added at most, never less than 1 s of it and never more than 15 min."""
    assert retry_wait(timedelta(seconds=base), jitter=0) == timedelta(seconds=base)
    assert retry_wait(timedelta(seconds=base), jitter=1) == timedelta(seconds=longest)


@given(age=durations)
def test_the_cadence_lists_the_intervals_of_all_ages(age: timedelta) -> None:
    """What SQL is given agrees with what is computed for one age."""
    steps = cadence(interval=TEN)
    assert next(interval for below, interval in steps if age < below) == poll_interval(age=age, interval=TEN)


@given(base=durations, jitter=jitters)
def test_jitter_of_a_retry_only_adds(base: timedelta, jitter: float) -> None:
    """No retry comes early, and none later than a quarter of an hour after its time."""
    assert base <= retry_wait(base, jitter=jitter) <= base + timedelta(minutes=15)


@pytest.mark.parametrize(
    ("age", "factor"),
    [(-5, 1), (0, 1), (119, 1), (120, 2), (599, 2), (600, 6), (3599, 6), (3600, 30), (86400, 30)],
)
def test_the_cadence(age: int, factor: int) -> None:
    """Often while young, rarely when old; each step begins exactly at its age."""
    assert poll_interval(age=timedelta(seconds=age), interval=TEN) == TEN * factor


@given(age=durations, interval=durations, jitter=jitters)
def test_jitter_of_a_poll_only_adds(age: timedelta, interval: timedelta, jitter: float) -> None:
    """A poll comes up to a tenth later than its interval, never earlier."""
    plain = poll_interval(age=age, interval=interval)

    assert plain <= next_poll_wait(age=age, interval=interval, jitter=jitter) <= plain * 1.1


def test_the_next_poll() -> None:
    """Half the jitter is a twentieth of the interval."""
    assert next_poll_wait(age=timedelta(minutes=5), interval=TEN, jitter=0.5) == timedelta(seconds=21)


@pytest.mark.parametrize(
    ("action", "setting", "delay"),
    [(Action.MUSIC, 10, 10), (Action.LYRICS, 10, 1), (Action.LYRICS, 0.5, 0.5), (Action.MUSIC, 0, 0)],
)
def test_the_first_poll(action: Action, setting: float, delay: float) -> None:
    """Music waits as set, lyrics at most a second."""
    wait = first_poll_delay(action=action, first_poll_delay=timedelta(seconds=setting))

    assert wait == timedelta(seconds=delay)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", 0),
        ("120", 120),
        (" 7 ", 7),
        ("999999999", 999_999_999),
        ("Tue, 07 Jul 2026 12:02:00 GMT", 120),
        ("Tue, 07 Jul 2026 14:02:00 +0200", 120),
        ("Tue, 07 Jul 2026 12:02:00 -0000", 120),
        ("Tuesday, 07-Jul-26 12:02:00 GMT", 120),
        ("Tue, 07 Jul 2026 12:00:00 GMT", 0),
        ("Tue, 07 Jul 2026 11:59:59 GMT", None),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("soon", None),
        ("٣", None),
        ("1234567890", None),
        ("9" * 5000, None),
        ("Tue, 99 Jul 2026 12:00:00 GMT", None),
        ("Tue, 07 Jul 99999 12:00:00 GMT", None),
        ("2026-07-07T12:02:00Z", None),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_retry_after(value: str | None, wait: int | None) -> None:
    """Whole seconds or an HTTP date; everything else, and what has passed, is none."""
    assert parse_retry_after(value, now=NOW) == (None if wait is None else timedelta(seconds=wait))


@given(value=st.text() | st.datetimes(timezones=st.just(UTC)).map(format_datetime))
def test_any_retry_after_is_read_or_refused(value: str) -> None:
    """No header raises, and no wait is negative."""
    wait = parse_retry_after(value, now=NOW)

    assert wait is None or wait >= timedelta(0)


def cool(
    *,
    failures: int,
    trouble: Trouble = Trouble.SERVER_ERROR,
    base: timedelta = FIVE,
    retry_after: timedelta | None = None,
    jitter: float = 0,
) -> timedelta:
    """Return the cool-down after so many bad answers."""
    return cooldown(trouble=trouble, failures=failures, base=base, retry_after=retry_after, jitter=jitter)


def test_a_cooldown_doubles_to_five_minutes() -> None:
    """5, 10, 20 … 300 s, and no further."""
    waits = tuple(cool(failures=failures) for failures in range(1, 10))

    assert waits == seconds(5, 10, 20, 40, 80, 160, 300, 300, 300)


def test_a_refused_key_cools_down_longer() -> None:
    """60, 120 … 900 s: a key heals by a person's hand."""
    waits = tuple(cool(failures=failures, trouble=Trouble.UNAUTHORIZED) for failures in range(1, 7))

    assert waits == seconds(60, 120, 240, 480, 900, 900)


@pytest.mark.parametrize("trouble", [trouble for trouble in Trouble if trouble is not Trouble.UNAUTHORIZED])
def test_all_other_trouble_cools_down_alike(trouble: Trouble) -> None:
    """Only a refused key is another matter."""
    assert cool(failures=2, trouble=trouble) == timedelta(seconds=10)


@pytest.mark.parametrize(
    ("base", "trouble", "wait"),
    [
        (0, Trouble.TIMEOUT, 0),
        (600, Trouble.TIMEOUT, 600),
        (0, Trouble.UNAUTHORIZED, 480),
        (90, Trouble.UNAUTHORIZED, 720),
        (1200, Trouble.UNAUTHORIZED, 1200),
    ],
)
def test_a_cooldown_of_the_users_own(base: int, trouble: Trouble, wait: int) -> None:
    """A base of 0 switches the wait off, one beyond the cap is kept; a refused key waits 60 s at least."""
    assert cool(failures=4, base=timedelta(seconds=base), trouble=trouble) == timedelta(seconds=wait)


@pytest.mark.parametrize(("asked", "wait"), [(3, 10), (60, 60), (900, 900), (86400, 900)])
def test_a_gateways_retry_after(asked: int, wait: int) -> None:
    """The longer of it and our own counts, up to 15 minutes of it."""
    assert cool(failures=2, retry_after=timedelta(seconds=asked)) == timedelta(seconds=wait)


@given(
    failures=st.integers(min_value=0, max_value=10**9),
    trouble=st.sampled_from(Trouble),
    base=durations,
    retry_after=st.none() | durations,
    jitter=jitters,
)
def test_jitter_of_a_cooldown_only_adds(
    failures: int,
    trouble: Trouble,
    base: timedelta,
    retry_after: timedelta | None,
    jitter: float,
) -> None:
    """Up to a fifth later, never earlier, however long the gateway has been away."""
    plain = cool(failures=failures, trouble=trouble, base=base, retry_after=retry_after)
    wait = cool(failures=failures, trouble=trouble, base=base, retry_after=retry_after, jitter=jitter)

    assert base <= plain <= wait <= plain * 1.2
