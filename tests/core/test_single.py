from __future__ import annotations

import json

import pytest

from worker.core.envelope import open_envelope
from worker.core.items import Rows
from worker.core.lifecycle import Action, Observation, Seen, Status, Times, Unreadable
from worker.core.single import read_one, says_unknown

CLIPS = '[{"id": "1", "status": "complete"}, {"id": "2", "status": "complete"}]'
LYRICS = '{"id": "c", "text": "la", "title": "La", "status": "complete"}'


def look(body: str, *, action: Action = Action.MUSIC) -> Rows | None:
    """Read one answer about the task `a`."""
    opened = open_envelope(body.encode())
    assert opened is not None
    return read_one(opened, asked="a", action=action)


def seen(status: Status, word: str, *, data: str | None = None, fail_reason: str = "") -> Seen:
    """Build an observation without progress and times."""
    return Seen(
        status=status,
        upstream_status=word,
        progress=None,
        fail_reason=fail_reason,
        times=Times(),
        data=data,
    )


def only(observation: Observation) -> Rows:
    """Build what is said of `a` alone."""
    return Rows(observations={"a": observation}, oddities=())


@pytest.mark.parametrize(
    ("body", "observation"),
    [
        pytest.param(
            '{"code": "success", "data": {"task_id": "a", "status": "SUCCESS", "data": [ 1 ]}}',
            seen(Status.SUCCESS, "SUCCESS", data="[ 1 ]"),
            id="new-api",
        ),
        pytest.param(
            '{"code": 200, "data": {"task_id": "a", "status": "completed", "clips": [ ]}}',
            seen(Status.SUCCESS, "completed", data='{"task_id": "a", "status": "completed", "clips": [ ]}'),
            id="GoAmz with a list",
        ),
        pytest.param(
            '{"code": 200, "data": {"status": "pending", "clips": {}}}',
            seen(Status.SUBMITTED, "pending"),
            id="GoAmz without an id",
        ),
        pytest.param(
            '{"code": 1, "data": {"task_id": "a", "status": "complete", "data": [{}]}}',
            seen(Status.SUCCESS, "complete", data="[{}]"),
            id="code 1",
        ),
        pytest.param(
            '{"code": 200, "data": {"task_id": "a", "status": "failed"}, "error_message": "moderated"}',
            seen(
                Status.FAILURE,
                "failed",
                data='{"task_id": "a", "status": "failed"}',
                fail_reason="moderated",
            ),
            id="reason in the envelope",
        ),
        pytest.param(
            '{"code": 500, "data": {"task_id": "a", "status": "failed", "error": "moderated"}}',
            seen(
                Status.FAILURE,
                "failed",
                data='{"task_id": "a", "status": "failed", "error": "moderated"}',
                fail_reason="moderated",
            ),
            id="failed envelope",
        ),
        pytest.param(
            f'{{"code": "success", "data": {CLIPS}}}',
            seen(Status.SUCCESS, "complete", data=CLIPS),
            id="bare clips",
        ),
        pytest.param(
            '{"code": "success", "data": [{"task_id": "b"}, {"task_id": "a", "status": "RUNNING"}]}',
            seen(Status.IN_PROGRESS, "RUNNING"),
            id="a batch",
        ),
        pytest.param(
            '{"task_id": "a", "status": "RUNNING"}',
            seen(Status.IN_PROGRESS, "RUNNING"),
            id="no envelope",
        ),
    ],
)
def test_the_shapes_of_a_single_answer(body: str, observation: Observation) -> None:
    """Each shape that the family has for one task is told by itself and read."""
    read = look(body)

    assert read is not None
    assert read.observations == {"a": observation}


def test_bare_lyrics() -> None:
    """Suno-API answers with the lyrics alone; for MUSIC such an object is nothing that can be read."""
    body = f'{{"code": "success", "data": {LYRICS}}}'

    assert look(body, action=Action.LYRICS) == only(seen(Status.SUCCESS, "complete", data=LYRICS))
    assert look(body) == Rows(
        observations={"a": Unreadable(excerpt=LYRICS)},
        oddities=(f"cannot be read: {LYRICS}",),
    )


@pytest.mark.parametrize("data", ["null", "[]"])
def test_nothing_is_said(data: str) -> None:
    """An empty answer says nothing of the task."""
    assert look(f'{{"code": "success", "data": {data}}}') == Rows(observations={}, oddities=())


def test_another_task() -> None:
    """An answer about another id is neither absence nor a status: it may be the gateway's own id for it."""
    read = look('{"code": 200, "data": {"task_id": "B", "status": "completed"}}')

    excerpt = 'not a but {"task_id": "B", "status": "completed"}'
    assert read == Rows(
        observations={"a": Unreadable(excerpt=excerpt)},
        oddities=(f"cannot be read: {excerpt}",),
    )


@pytest.mark.parametrize(
    "body",
    [
        '{"code": "success", "data": "a"}',
        '{"code": "success", "data": 7}',
        f'{{"code": "failure", "data": {CLIPS}}}',
        f'{{"data": {CLIPS}}}',
        f'{{"code": "failure", "data": {LYRICS}}}',
    ],
)
def test_what_is_no_answer(body: str) -> None:
    """Clips and lyrics do not name their task, so without a code of success they count for nothing."""
    assert look(body, action=Action.LYRICS) is None


@pytest.mark.parametrize("status_code", [400, 404])
@pytest.mark.parametrize(
    "body",
    [
        {"code": "task_not_exist", "message": "task_not_exist", "data": None},
        {"code": "task_not_exist", "message": ""},
        {"code": "invalid_request", "message": "task not exist", "data": None},
        {"error": {"message": "Task not found", "type": "x"}},
        {"message": "no such id"},
        {"error": "not_found"},
    ],
    ids=json.dumps,
)
def test_refusals_that_name_no_url(body: dict[str, object], status_code: int) -> None:
    """A JSON 400 or 404 says that the gateway does not know the task."""
    assert says_unknown(status_code=status_code, body=json.dumps(body).encode()) is True


@pytest.mark.parametrize(
    ("status_code", "body"),
    [
        (404, b'{"error": {"message": "Invalid URL (GET /v1/suno/fetch/a)"}}'),
        (404, b'{"detail": "Not Found"}'),
        (404, b'{"timestamp": "x", "status": 404, "error": "Not Found", "path": "/suno/fetch/a"}'),
        (404, b'{"message": "The route suno/fetch/a could not be found."}'),
        (404, b"<html>404</html>"),
        (404, b""),
        (404, b"[]"),
        (404, b"{}"),
        (400, b"null"),
        (422, b'{"code": "task_not_exist"}'),
        (401, b'{"code": "task_not_exist"}'),
        (500, b'{"code": "task_not_exist"}'),
    ],
)
def test_refusals_that_prove_nothing(status_code: int, body: bytes) -> None:
    """A wrong URL, a page and every other status say nothing about the task."""
    assert says_unknown(status_code=status_code, body=body) is False
