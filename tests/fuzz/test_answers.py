from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.answers import IDS, STATUS_CODES, Answer, check
from tests.fuzz.mutations import SAMPLES, mutate
from worker.core.lifecycle import Action, Seen, Status
from worker.core.wire import Fetch, Good

questions = st.tuples(st.sampled_from(Fetch), st.sampled_from(Action), st.sampled_from(IDS))


def answer_of(question: tuple[Fetch, Action, str], *, body: bytes, status_code: int = 200) -> Answer:
    """Build the answer to a batch of all ids, or to a single fetch of one."""
    fetch, action, task_id = question
    asked = IDS if fetch is Fetch.BATCH else (task_id,)
    return Answer(fetch=fetch, action=action, status_code=status_code, asked=asked, body=body)


@settings(max_examples=3000, deadline=None, database=None)
@given(
    question=questions,
    sample=st.sampled_from(SAMPLES),
    seed=st.integers(min_value=0, max_value=2**32 - 1),
    status_code=st.just(200) | st.just(200) | st.just(200) | st.sampled_from(STATUS_CODES),
)
def test_no_change_of_a_sample_makes_a_false_end(
    question: tuple[Fetch, Action, str], sample: bytes, seed: int, status_code: int
) -> None:
    """Whatever becomes of a real answer on its way, no task ends by it unless it says so."""
    body = mutate(sample, random=Random(seed))  # noqa: S311 - a seed that hypothesis can give again
    check(answer_of(question, body=body, status_code=status_code))


@settings(max_examples=500, deadline=None, database=None)
@given(question=questions, body=st.binary(max_size=200))
def test_no_bytes_make_a_false_end(question: tuple[Fetch, Action, str], body: bytes) -> None:
    """Any bytes at all: no exception, one observation for each id, nothing concluded."""
    check(answer_of(question, body=body))


@pytest.mark.parametrize("fetch", Fetch, ids=str)
def test_the_samples_themselves_hold(fetch: Fetch) -> None:
    """The oracle agrees with every sample, and sees the ends that they tell: it is not blind."""
    ends = set()
    for sample in SAMPLES:
        for task_id in IDS:
            reply = check(answer_of((fetch, Action.MUSIC, task_id), body=sample))
            if isinstance(reply, Good):
                ends |= {said.status for said in reply.observations.values() if isinstance(said, Seen)}
    assert ends == set(Status)
