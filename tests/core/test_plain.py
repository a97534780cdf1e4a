from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.lifecycle import Seen, Status
from worker.core.plain import read_plain
from worker.core.wire import Reply, read_any_batch, read_batch

SAMPLES = Path(__file__).parent.parent / "samples"
ROW: dict[str, object] = {"task_id": "a", "status": "IN_PROGRESS", "progress": "46%", "fail_reason": ""}


def answer(*rows: object, **fields: object) -> bytes:
    """Build the family's answer."""
    return json.dumps({"code": "success", "message": "", "data": rows} | fields).encode()


def both(body: bytes, *, asked: Sequence[str]) -> tuple[Reply, Reply]:
    """Read a body in the quick way where that is possible, and in the thorough one."""
    return (
        read_batch(status_code=200, content_type="", retry_after=None, body=body, asked=asked),
        read_any_batch(status_code=200, content_type="", retry_after=None, body=body, asked=asked),
    )


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("newapi_fetch_submitted.json", Status.SUBMITTED),
        ("newapi_fetch_not_start_null_data.json", Status.SUBMITTED),
        ("newapi_fetch_in_progress.json", Status.IN_PROGRESS),
        ("newapi_fetch_success_music.json", Status.SUCCESS),
        ("newapi_fetch_lyrics_success.json", Status.SUCCESS),
        ("newapi_fetch_failure.json", Status.FAILURE),
        ("seed_openai_hub_fetch_batch.json", Status.IN_PROGRESS),
        ("seed_rixapi_fetch_batch.json", Status.IN_PROGRESS),
    ],
)
def test_what_the_family_sends_is_read_in_one_pass(name: str, status: Status) -> None:
    """The common answers of every age and end are plain, so the quick way is the usual one."""
    body = (SAMPLES / name).read_bytes()
    task_id = json.loads(body)["data"][0]["task_id"]

    read = read_plain(body, asked=[task_id])

    assert read is not None
    assert isinstance(seen := read.observations[task_id], Seen)
    assert seen.status is status


@pytest.mark.parametrize(
    "body",
    [
        answer(ROW, {**ROW, "task_id": "b"}),
        answer(ROW, ROW),
        answer(),
        answer({"task_id": "a"}),
        answer({**ROW, "status": None}),
        answer({**ROW, "progress": True}),
        answer({**ROW, "fail_reason": {"message": "boom"}}),
        answer({**ROW, "failReason": "boom"}),
        answer({**ROW, "startTime": 1783400012}),
        answer({**ROW, "status": "SUCCESS"}),
        answer({**ROW, "status": "FAILURE", "data": None, "error": "boom"}),
        answer(ROW, code="fail"),
        answer(ROW, code=True),
        answer(ROW, task_id="a"),
        answer(ROW, taskId=None),
        b"\xef\xbb\xbf" + answer(ROW),
        answer({**ROW, "fail_reason": "@"}).replace(b"@", b"\\ud83d"),
    ],
)
def test_one_odd_row_leaves_the_whole_answer_to_the_thorough_way(body: bytes) -> None:
    """What another field or row might have a say in is not decided by the quick look."""
    assert read_plain(body, asked=["a"]) is None


def test_rows_of_one_answer_keep_their_own_facts() -> None:
    """Each id gets its own row's word, per cent, reason and times, whatever was read before it."""
    names = [f"task-{number}" for number in range(100)]
    rows = [
        {
            "task_id": name,
            "status": f"word {number % 7}",
            "progress": f"{number}%",
            "fail_reason": f"reason {number}",
            "submit_time": 1783400000 + number,
            "start_time": 1783400000000 + number,
        }
        for number, name in enumerate(names)
    ]

    quick, thorough = both(answer(*rows), asked=names)

    assert read_plain(answer(*rows), asked=names) is not None
    assert quick == thorough


ODD = [
    "",
    "0",
    "46%",
    " 46 ",
    "1e999",
    "success",
    "OK",
    "SUCCESS",
    "failed",
    "a\0b",
    "\ud83d",
    "\u0664",
    " " * 5000 + "x",
]
values: st.SearchStrategy[object] = (
    st.sampled_from([None, True, False, 0, 1, 46, 46.7, -1, 2**63, 10**30, 1783400012, 1783400012345, [], {}])
    | st.sampled_from(ODD)
    | st.builds(dict, message=st.sampled_from(ODD))
)
FIELDS = (
    *(
        "status",
        "progress",
        "fail_reason",
        "submit_time",
        "start_time",
        "finish_time",
        "data",
        "clips",
        "input",
    ),
    *("taskId", "failReason", "submitTime", "finishTime", "error", "message", "id"),
)
names = st.sampled_from(["a", "a", "a", "b", "", 4711])
parts = st.lists(
    st.tuples(
        st.sampled_from(FIELDS),
        values,
    ),
    max_size=6,
)


def text_of(members: Sequence[tuple[str, object]]) -> str:
    """Write an object whose names may come twice."""
    return "{" + ",".join(f"{json.dumps(name)}:{json.dumps(value)}" for name, value in members) + "}"


usual = st.fixed_dictionaries(
    {},
    optional={
        "progress": st.sampled_from(["46%", 46, None]),
        "fail_reason": st.sampled_from(["", "boom", "a\0b", "ok", " " * 5000 + "x"]),
        "submit_time": st.sampled_from([0, 1783400012]),
        "start_time": st.sampled_from([0, 5, 1783400012345]),
        "data": st.sampled_from([None, [], [{"title": "\ud83d"}]]),
    },
)
rows = st.builds(
    lambda name, word, plain, odd: text_of([("task_id", name), ("status", word), *plain.items(), *odd]),
    names,
    st.sampled_from(["QUEUED", "in progress", "SUCCESS", "FAILURE", "weird", "w" * 70, "a\0b"]),
    usual,
    st.just([]) | parts,
)
envelopes = st.lists(
    st.tuples(st.sampled_from(["code", "message", "task_id", "taskId", "status", "data"]), values), max_size=1
)


@settings(max_examples=600, deadline=None)
@given(
    rows=st.lists(rows, max_size=3),
    code=st.sampled_from(["success", "success", " Success ", 200, 1, 0, "0", "fail", 1.0, True, None]),
    before=envelopes,
    after=envelopes,
    asked=st.sampled_from([["a"], ["a"], ["a", "b"], ["a", "a"], ["4711"], []]),
)
def test_the_quick_way_reads_what_the_thorough_one_does(
    rows: list[str],
    code: object,
    before: list[tuple[str, object]],
    after: list[tuple[str, object]],
    asked: list[str],
) -> None:
    """No type, spelling, order or repetition of the fields makes the two disagree."""
    head = text_of([*before, ("code", code)])[1:-1]
    tail = "".join(f",{json.dumps(name)}:{json.dumps(value)}" for name, value in after)
    body = f'{{{head},"data":[{",".join(rows)}]{tail}}}'.encode()

    quick, thorough = both(body, asked=asked)

    assert quick == thorough
