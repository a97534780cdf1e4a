from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.fields import (
    REASON_LENGTH,
    progress_of,
    reason_of,
    task_id_of,
    text_of,
    times_of,
    word_of,
)
from worker.core.lifecycle import Status, Times

NOON = datetime(2026, 7, 7, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "task_id"),
    [
        ({"task_id": b'"a"'}, "a"),
        ({"taskId": b'"a"'}, "a"),
        ({"id": b'"a"'}, "a"),
        ({"task_id": b"4711"}, "4711"),
        ({"task_id": b'"a"', "id": b"4711"}, "a"),
        ({"task_id": b"null", "taskId": b'"a"'}, "a"),
        ({"task_id": b"null", "id": b'"a"'}, None),
        ({"task_id": b'""'}, None),
        ({"task_id": b"true"}, None),
        ({"task_id": b"1.5"}, None),
        ({"task_id": b"[1]"}, None),
        ({}, None),
    ],
)
def test_the_id_of_an_item(fields: dict[str, bytes], task_id: str | None) -> None:
    """The task id counts in both spellings, a number as text, and `id` only where there is no task id."""
    assert task_id_of(fields) == task_id


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b'"SUCCESS"', "SUCCESS"),
        (b'""', ""),
        (b"null", ""),
        (b"3", "3"),
        (b"true", None),
        (b"{}", None),
        (None, None),
    ],
)
def test_the_word_of_an_item(text: bytes | None, word: str | None) -> None:
    """A null word is empty, a number its digits; anything else is no word."""
    assert word_of({} if text is None else {"status": text}) == word


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        (b'"0%"', 0),
        (b'"46%"', 46),
        (b'"46"', 46),
        (b'" 46 % "', 46),
        (b"46", 46),
        (b"46.9", 46),
        (b"100", 100),
        (b'"100%"', 100),
        (b'"101%"', None),
        (b"-1", None),
        (b'""', None),
        (b"null", None),
        (b"true", None),
        (b'"done"', None),
        (b'"nan"', None),
        (b'"inf%"', None),
        (b"9" * 400, None),
        (b"8" * 5000, None),
        (b"[50]", None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_progress(text: bytes, percent: int | None) -> None:
    """Progress is read from text and numbers; what is no number from 0 to 100 is none."""
    assert progress_of({"progress": text}) == percent


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (b"1783425600", NOON),
        (b"1783425600000", NOON),
        (b'"1783425600"', NOON),
        (b'"1783425600000"', NOON),
        (b"1783425600.0", NOON),
        (b"1783425600500", NOON.replace(microsecond=500_000)),
        (b"946684800", datetime(2000, 1, 1, tzinfo=UTC)),
        (b"946684799", None),
        (b"4102444799", datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (b"4102444800", None),
        (b"0", None),
        (b"-1", None),
        (b"null", None),
        (b"true", None),
        (b'"yesterday"', None),
        (b"1e300", None),
        (b"9" * 30, None),
        (b"8" * 5000, None),
        (b"NaN", None),
        (b"{}", None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_times(text: bytes, at: datetime | None) -> None:
    """Seconds and milliseconds are told apart by size; 0, null and what lies outside of 2000-2099 is none."""
    assert times_of({"submit_time": text}) == Times(submitted_at=at)


def test_both_spellings_of_times() -> None:
    """The camelCase of some resellers is read where snake_case says nothing."""
    fields = {
        "submit_time": b"0",
        "submitTime": b"1783425600000",
        "startTime": b"1783425601",
        "finishTime": b"1783425602",
    }

    assert times_of(fields) == Times(
        submitted_at=NOON,
        started_at=NOON.replace(second=1),
        finished_at=NOON.replace(second=2),
    )


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({"fail_reason": b'"a"', "error": b'"b"'}, Status.FAILURE, "a"),
        ({"fail_reason": b'""', "failReason": b'"a"'}, Status.FAILURE, "a"),
        ({"error": b'"a"'}, Status.FAILURE, "a"),
        ({"error": b'{"code": 1, "message": "a"}'}, Status.FAILURE, "a"),
        ({"error": b'{"code": 1}', "error_message": b'"a"'}, Status.FAILURE, "a"),
        ({"errorMessage": b'"a"', "message": b'"b"'}, Status.FAILURE, "a"),
        ({"message": b'"a"'}, Status.FAILURE, "a"),
        ({"fail_reason": b"null"}, Status.FAILURE, ""),
        ({"fail_reason": b'"  "'}, Status.FAILURE, ""),
        ({"fail_reason": b"7"}, Status.FAILURE, ""),
        ({"error": b'"a"', "message": b'"b"'}, Status.SUCCESS, ""),
        ({"message": b'"a"'}, None, ""),
        ({"failReason": b'"a"'}, Status.IN_PROGRESS, "a"),
    ],
)
def test_the_reason_of_a_failure(fields: dict[str, bytes], status: Status | None, reason: str) -> None:
    """fail_reason counts always; the names of other dialects only for a failure, the nearest first."""
    assert reason_of(fields, status=status) == reason


def test_a_reason_keeps_its_text_up_to_a_length() -> None:
    """White space around a reason is the gateway's own; beyond 4,096 characters it is cut."""
    assert text_of(b'" a\\nb "') == " a\nb "
    assert text_of(b'"' + b"x" * 5000 + b'"') == "x" * REASON_LENGTH


@given(
    text=st.binary(max_size=40) | st.from_regex(rb"-?[0-9]{1,400}(\.[0-9]+)?(e[0-9]{1,3})?", fullmatch=True)
)
def test_any_bytes_make_a_field(text: bytes) -> None:
    """No bytes in any field raise."""
    names = ["task_id", "status", "progress", "fail_reason", "error", "submit_time", "finishTime"]
    fields = dict.fromkeys(names, text)

    task_id_of(fields)
    word_of(fields)
    reason_of(fields, status=Status.FAILURE)
    times_of(fields)
    percent = progress_of(fields)
    assert percent is None or 0 <= percent <= 100
