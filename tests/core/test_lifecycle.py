from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from worker.core import lifecycle
from worker.core.lifecycle import (
    ABSENCES_TO_END,
    INITIAL,
    PENDING,
    TERMINAL,
    TRANSITIONS,
    Absent,
    Known,
    Limits,
    Observation,
    Seen,
    Status,
    Step,
    Times,
    Unanswered,
    Unreadable,
    advance,
    state_diagram,
)

ENQUEUED_AT = datetime(2026, 7, 7, 12, 0, tzinfo=UTC)
LIMITS = Limits(
    task_deadline=timedelta(hours=24),
    missing_grace=timedelta(seconds=300),
    stuck_after=timedelta(seconds=600),
)
YOUNG = ENQUEUED_AT + timedelta(seconds=60)
SECOND = timedelta(seconds=1)
TIMES = Times(
    submitted_at=ENQUEUED_AT,
    started_at=ENQUEUED_AT + timedelta(seconds=11),
    finished_at=ENQUEUED_AT + timedelta(seconds=133),
)
CLIPS = '[{"id": "1"}]'

KNOWN = Known(
    status=Status.SUBMITTED,
    upstream_status="QUEUED",
    progress=10,
    fail_reason="",
    absences=0,
    stuck_since_at=None,
    enqueued_at=ENQUEUED_AT,
)
SEEN = Seen(
    status=Status.SUBMITTED,
    upstream_status="QUEUED",
    progress=10,
    fail_reason="",
    times=Times(submitted_at=ENQUEUED_AT),
    data=None,
)
STUCK = replace(
    SEEN, status=Status.IN_PROGRESS, upstream_status="IN_PROGRESS", progress=100, fail_reason="boom"
)


def said(status: Status | None, word: str) -> Seen:
    """Build what a gateway says with a status word."""
    data = CLIPS if status in TERMINAL else None
    return replace(SEEN, status=status, upstream_status=word, progress=57, times=TIMES, data=data)


SUBMITTED = said(Status.SUBMITTED, "NOT_START")
IN_PROGRESS = said(Status.IN_PROGRESS, "streaming")
SUCCESS = said(Status.SUCCESS, "completed")
FAILURE = replace(said(Status.FAILURE, "failed"), fail_reason="moderation")
UNKNOWN = said(None, "WARPED")
ABSENT = Absent()
UNREADABLE = Unreadable(excerpt="?")
UNANSWERED = Unanswered()
OBSERVATIONS: dict[str, Observation] = {
    "submitted": SUBMITTED,
    "in progress": IN_PROGRESS,
    "success": SUCCESS,
    "failure": FAILURE,
    "unknown": UNKNOWN,
    "absent": ABSENT,
    "unreadable": UNREADABLE,
    "unanswered": UNANSWERED,
}

# What a young task with one absence becomes: (status, upstream_status, progress, fail_reason, absences).
BECOMES = {
    (Status.SUBMITTED, "submitted"): (Status.SUBMITTED, "NOT_START", 50, "", 0),
    (Status.SUBMITTED, "in progress"): (Status.IN_PROGRESS, "streaming", 50, "", 0),
    (Status.SUBMITTED, "success"): (Status.SUCCESS, "completed", 100, "", 0),
    (Status.SUBMITTED, "failure"): (Status.FAILURE, "failed", 57, "moderation", 0),
    (Status.SUBMITTED, "unknown"): (Status.SUBMITTED, "WARPED", 50, "", 0),
    (Status.SUBMITTED, "absent"): (Status.SUBMITTED, "held", 10, "held", 2),
    (Status.SUBMITTED, "unreadable"): (Status.SUBMITTED, "held", 10, "held", 0),
    (Status.SUBMITTED, "unanswered"): (Status.SUBMITTED, "held", 10, "held", 1),
    (Status.IN_PROGRESS, "submitted"): (Status.IN_PROGRESS, "NOT_START", 10, "held", 0),
    (Status.IN_PROGRESS, "in progress"): (Status.IN_PROGRESS, "streaming", 50, "", 0),
    (Status.IN_PROGRESS, "success"): (Status.SUCCESS, "completed", 100, "", 0),
    (Status.IN_PROGRESS, "failure"): (Status.FAILURE, "failed", 57, "moderation", 0),
    (Status.IN_PROGRESS, "unknown"): (Status.IN_PROGRESS, "WARPED", 50, "", 0),
    (Status.IN_PROGRESS, "absent"): (Status.IN_PROGRESS, "held", 10, "held", 2),
    (Status.IN_PROGRESS, "unreadable"): (Status.IN_PROGRESS, "held", 10, "held", 0),
    (Status.IN_PROGRESS, "unanswered"): (Status.IN_PROGRESS, "held", 10, "held", 1),
}


def names(product: object) -> str:
    """Name a case of the product."""
    return str(product)


@pytest.mark.parametrize("status", sorted(PENDING), ids=names)
@pytest.mark.parametrize("observation", list(OBSERVATIONS), ids=names)
def test_each_status_meets_each_observation(status: Status, observation: str) -> None:
    """The full product of pending statuses and observations: exactly one result each."""
    known = replace(KNOWN, status=status, upstream_status="held", fail_reason="held", absences=1)

    step = advance(known, OBSERVATIONS[observation], now=YOUNG, limits=LIMITS)

    after, word, progress, reason, absences = BECOMES[status, observation]
    ended = after in TERMINAL
    assert step == Step(
        known=Known(
            status=after,
            upstream_status=word,
            progress=progress,
            fail_reason=reason,
            absences=absences,
            stuck_since_at=None,
            enqueued_at=ENQUEUED_AT,
        ),
        transition=None if after is status else (status, after),
        times=TIMES if ended else Times(),
        data=CLIPS if ended else None,
    )


@pytest.mark.parametrize("status", sorted(TERMINAL), ids=names)
@pytest.mark.parametrize("observation", list(OBSERVATIONS), ids=names)
def test_terminal_is_never_left(status: Status, observation: str) -> None:
    """A finished task refuses every observation with one clear error."""
    known = replace(KNOWN, status=status)

    with pytest.raises(
        ValueError, match=f"^a Suno task in {status} is finished: no observation may change it$"
    ):
        advance(known, OBSERVATIONS[observation], now=YOUNG, limits=LIMITS)


def test_the_product_is_complete() -> None:
    """No pair of a pending status and an observation is left out of the table above."""
    assert set(BECOMES) == set(itertools.product(PENDING, OBSERVATIONS))


def test_the_table_leads_every_task_to_an_end() -> None:
    """SUCCESS and FAILURE are the only ends, each can be reached from each pending status, none is left."""
    assert INITIAL is Status.SUBMITTED
    assert {Status.SUCCESS, Status.FAILURE} == TERMINAL
    assert {Status.SUBMITTED, Status.IN_PROGRESS} == PENDING
    assert set(TRANSITIONS) == set(Status)
    assert all(TRANSITIONS[status] >= TERMINAL for status in PENDING)
    assert all(TRANSITIONS[status] == frozenset() for status in TERMINAL)


def test_the_diagram_is_drawn_from_the_table() -> None:
    """The Mermaid text shows the start, each transition and the two ends."""
    assert state_diagram() == (
        "stateDiagram-v2\n"
        "    [*] --> SUBMITTED\n"
        "    SUBMITTED --> IN_PROGRESS\n"
        "    SUBMITTED --> SUCCESS\n"
        "    SUBMITTED --> FAILURE\n"
        "    IN_PROGRESS --> SUCCESS\n"
        "    IN_PROGRESS --> FAILURE\n"
        "    SUCCESS --> [*]\n"
        "    FAILURE --> [*]"
    )


@pytest.mark.parametrize(
    ("percent", "kept"),
    [(0, 0), (9, 0), (10, 10), (99, 90), (100, 100), (None, 10)],
)
def test_progress_is_kept_in_steps(percent: int | None, kept: int) -> None:
    """Progress is floored to steps of 10 %, and stays where the gateway sends none."""
    seen = replace(SEEN, progress=percent)

    assert advance(KNOWN, seen, now=YOUNG, limits=LIMITS).known.progress == kept


@pytest.mark.parametrize(
    ("status", "percent", "kept"),
    [
        (Status.SUCCESS, 0, 100),
        (Status.SUCCESS, None, 100),
        (Status.FAILURE, 57, 57),
        (Status.FAILURE, None, 10),
        (Status.FAILURE, 0, 0),
    ],
)
def test_progress_at_the_end(status: Status, percent: int | None, kept: int) -> None:
    """A success is at 100 %; a failure stays where the gateway left it."""
    seen = replace(SEEN, status=status, progress=percent)

    assert advance(KNOWN, seen, now=YOUNG, limits=LIMITS).known.progress == kept


def test_lost_needs_the_third_absence() -> None:
    """Two absences end nothing however old the task is, below its deadline; the third does."""
    now = ENQUEUED_AT + LIMITS.task_deadline - SECOND
    second = advance(replace(KNOWN, absences=1), ABSENT, now=now, limits=LIMITS)
    assert second.transition is None
    assert second.known.absences == 2

    third = advance(second.known, ABSENT, now=now, limits=LIMITS)

    assert third.transition == (Status.SUBMITTED, Status.FAILURE)
    assert third.known.fail_reason == "worker: lost: absent in 3 consecutive answers of the gateway"
    assert (third.times, third.data) == (Times(), None)


def test_lost_needs_the_grace() -> None:
    """Within the grace no number of absences ends a task, and the count stops at three."""
    known = replace(KNOWN, absences=ABSENCES_TO_END)
    just_before = ENQUEUED_AT + LIMITS.missing_grace - SECOND

    assert advance(known, ABSENT, now=just_before, limits=LIMITS) == Step(
        known=known,
        transition=None,
        times=Times(),
        data=None,
    )
    assert advance(known, ABSENT, now=just_before + SECOND, limits=LIMITS).known.status is Status.FAILURE


@pytest.mark.parametrize("observation", [SUBMITTED, UNREADABLE], ids=["seen", "unreadable"])
def test_a_mention_starts_the_absences_again(observation: Observation) -> None:
    """Only consecutive absences count: an answer that names the task, readable or not, resets them."""
    known = replace(KNOWN, absences=2)

    step = advance(known, observation, now=YOUNG, limits=LIMITS)

    assert step.known.absences == 0


def test_stuck_counts_from_the_first_sight() -> None:
    """100 % with a reason and no terminal word ends a task after 600 s, with the gateway's reason told."""
    first = advance(KNOWN, STUCK, now=YOUNG, limits=LIMITS)
    assert first.transition == (Status.SUBMITTED, Status.IN_PROGRESS)
    assert first.known.stuck_since_at == YOUNG

    almost = advance(first.known, STUCK, now=YOUNG + timedelta(seconds=599), limits=LIMITS)
    assert almost.transition is None
    assert almost.known == first.known

    last = advance(almost.known, STUCK, now=YOUNG + timedelta(seconds=600), limits=LIMITS)
    assert last.transition == (Status.IN_PROGRESS, Status.FAILURE)
    assert last.known.fail_reason == ("worker: stuck: for 600 s IN_PROGRESS at 100 %, with the reason: boom")
    assert last.known.stuck_since_at is None
    assert (last.times, last.data) == (STUCK.times, None)


@pytest.mark.parametrize(
    "healed",
    [replace(STUCK, progress=90), replace(STUCK, fail_reason="")],
    ids=["below 100 %", "no reason"],
)
def test_stuck_heals(healed: Seen) -> None:
    """A task that goes on is no longer stuck: its clock starts again."""
    known = replace(KNOWN, status=Status.IN_PROGRESS, stuck_since_at=YOUNG)

    step = advance(known, healed, now=YOUNG + timedelta(hours=1), limits=LIMITS)

    assert step.transition is None
    assert step.known.stuck_since_at is None


@pytest.mark.parametrize(
    "observation", [ABSENT, UNREADABLE, UNANSWERED], ids=["absent", "unreadable", "unanswered"]
)
def test_only_sight_ends_a_stuck_task(observation: Observation) -> None:
    """An answer that does not show the stuck state proves nothing, and the clock runs on."""
    known = replace(KNOWN, status=Status.IN_PROGRESS, stuck_since_at=YOUNG)

    step = advance(known, observation, now=YOUNG + timedelta(hours=1), limits=LIMITS)

    assert step.transition is None
    assert step.known.stuck_since_at == YOUNG


@pytest.mark.parametrize("seen", [replace(STUCK, status=Status.SUBMITTED), replace(STUCK, status=None)])
def test_stuck_goes_by_what_the_gateway_shows(seen: Seen) -> None:
    """A step back or an unknown word can be stuck as well."""
    known = replace(KNOWN, status=Status.IN_PROGRESS, stuck_since_at=YOUNG)

    step = advance(known, seen, now=YOUNG + timedelta(seconds=600), limits=LIMITS)

    assert step.transition == (Status.IN_PROGRESS, Status.FAILURE)


@pytest.mark.parametrize("observation", [SUBMITTED, IN_PROGRESS, UNKNOWN, ABSENT])
def test_overdue_at_the_first_good_answer(observation: Observation) -> None:
    """A good answer at the deadline that is not terminal ends the task; a second earlier it does not."""
    deadline = ENQUEUED_AT + LIMITS.task_deadline
    before = advance(KNOWN, observation, now=deadline - SECOND, limits=LIMITS)
    assert before.known.status in PENDING

    step = advance(KNOWN, observation, now=deadline, limits=LIMITS)

    assert step.transition == (Status.SUBMITTED, Status.FAILURE)
    assert step.known.fail_reason == "worker: overdue: not finished within 86400 s"
    assert step.data is None


@pytest.mark.parametrize("observation", [UNREADABLE, UNANSWERED], ids=["unreadable", "unanswered"])
def test_trouble_ends_a_task_at_twice_the_deadline(observation: Observation) -> None:
    """Trouble at the deadline changes nothing; only twice the deadline ends the task."""
    twice = ENQUEUED_AT + 2 * LIMITS.task_deadline
    assert advance(KNOWN, observation, now=twice - SECOND, limits=LIMITS).transition is None

    step = advance(KNOWN, observation, now=twice, limits=LIMITS)

    assert step.transition == (Status.SUBMITTED, Status.FAILURE)
    assert step.known.fail_reason == "worker: unheard: no readable answer within 172800 s"
    assert (step.times, step.data) == (Times(), None)


@pytest.mark.parametrize("observation", [SUCCESS, FAILURE], ids=["success", "failure"])
def test_a_late_word_still_counts(observation: Seen) -> None:
    """The gateway's terminal word wins over all our own ends, however late it comes."""
    known = replace(KNOWN, absences=ABSENCES_TO_END, stuck_since_at=YOUNG)

    step = advance(known, observation, now=ENQUEUED_AT + timedelta(days=365), limits=LIMITS)

    assert step.transition == (Status.SUBMITTED, observation.status)
    assert step.known.fail_reason == observation.fail_reason
    assert step.data == CLIPS


observations = st.one_of(
    st.builds(Absent),
    st.builds(Unanswered),
    st.builds(Unreadable, excerpt=st.just("?")),
    st.builds(
        Seen,
        status=st.none() | st.sampled_from(Status),
        upstream_status=st.text(max_size=8),
        progress=st.none() | st.integers(min_value=0, max_value=100),
        fail_reason=st.sampled_from(["", "boom"]),
        times=st.just(TIMES),
        data=st.sampled_from([None, CLIPS]),
    ),
)


@given(observed=st.lists(st.tuples(observations, st.integers(min_value=0, max_value=40_000)), max_size=40))
def test_any_history_moves_along_the_table(observed: list[tuple[Observation, int]]) -> None:
    """Whatever is observed, a task moves only along the table, keeps its bounds, and ends once at most."""
    known, now = KNOWN, ENQUEUED_AT
    for observation, seconds in observed:
        now += timedelta(seconds=seconds)
        step = advance(known, observation, now=now, limits=LIMITS)
        if step.transition is None:
            assert step.known.status is known.status
            assert (step.times, step.data) == (Times(), None)
        else:
            assert step.transition == (known.status, step.known.status)
            assert step.known.status in TRANSITIONS[known.status]
        assert 0 <= step.known.progress <= 100
        assert 0 <= step.known.absences <= ABSENCES_TO_END
        assert step.known.enqueued_at == ENQUEUED_AT
        known = step.known
        if known.status in TERMINAL:
            return


@given(observed=st.lists(st.builds(Unanswered), min_size=1, max_size=10), hours=st.integers(0, 47))
def test_an_outage_changes_nothing(observed: list[Unanswered], hours: int) -> None:
    """No number of bad answers below twice the deadline changes anything that we hold of a task."""
    for observation in observed:
        step = advance(KNOWN, observation, now=ENQUEUED_AT + timedelta(hours=hours), limits=LIMITS)
        assert step == Step(known=KNOWN, transition=None, times=Times(), data=None)


few = st.sampled_from
nearly_alike = st.builds(
    Seen,
    status=few([None, *Status]),
    upstream_status=few(["QUEUED", "queued"]),
    progress=few([None, 0, 9, 10, 15, 20, 100]),
    fail_reason=few(["", "boom"]),
    times=st.just(TIMES),
    data=st.just(CLIPS),
)


@given(
    known=st.builds(
        Known,
        status=few(sorted(PENDING)),
        upstream_status=few([None, "QUEUED", "queued"]),
        progress=few([0, 5, 10, 20, 100]),
        fail_reason=few(["", "boom"]),
        absences=few([0, 1, ABSENCES_TO_END]),
        stuck_since_at=few([None, YOUNG]),
        enqueued_at=st.just(ENQUEUED_AT),
    ),
    observation=nearly_alike,
    age=few([timedelta(0), LIMITS.task_deadline - SECOND, LIMITS.task_deadline, 2 * LIMITS.task_deadline]),
)
def test_the_first_look_decides_as_the_rules_do(known: Known, observation: Seen, age: timedelta) -> None:
    """Where `advance` takes an observation for a repetition, the whole of its rules would change nothing."""
    step = advance(known, observation, now=ENQUEUED_AT + age, limits=LIMITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lifecycle, "_is_repeated", lambda *_, **__: False)

        assert step == advance(known, observation, now=ENQUEUED_AT + age, limits=LIMITS)


def test_a_repetition_makes_nothing_new() -> None:
    """What we hold comes back as it is, so that a poll of a hundred unchanged tasks costs next to nothing."""
    step = advance(KNOWN, replace(SEEN, progress=19), now=YOUNG, limits=LIMITS)

    assert step.known is KNOWN
    assert (step.transition, step.times, step.data) == (None, Times(), None)
