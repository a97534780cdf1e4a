from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.lifecycle import (
    Absent,
    Action,
    Observation,
    Seen,
    Status,
    Times,
    Unanswered,
    Unreadable,
)
from worker.core.wire import Bad, Good, Reply, Trouble, normalise_base_url, read_batch, read_single


def row(task_id: object, status: object, **fields: object) -> dict[str, object]:
    """Build one item."""
    return {"task_id": task_id, "status": status, **fields}


def batch(
    body: object, *, asked: list[str], status_code: int = 200, content_type: str = "application/json"
) -> Reply:
    """Read a batch reply; bodies that are no bytes are sent as JSON."""
    return read_batch(
        status_code=status_code,
        content_type=content_type,
        retry_after=None,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        asked=asked,
    )


def single(body: bytes, *, status_code: int = 200) -> Reply:
    """Read a single reply about `a`."""
    return read_single(
        status_code=status_code,
        content_type="application/json",
        retry_after=None,
        body=body,
        asked="a",
        action=Action.MUSIC,
    )


def statuses(reply: Reply) -> dict[str, Status | type[Observation] | None]:
    """Return each id's status, or what it is instead of seen."""
    assert isinstance(reply, Good)
    return {
        task_id: said.status if isinstance(said, Seen) else type(said)
        for task_id, said in reply.observations.items()
    }


STATUS_CODES = [
    (301, Trouble.NOT_FOUND, Trouble.NOT_FOUND),
    (307, Trouble.NOT_FOUND, Trouble.NOT_FOUND),
    (400, Trouble.REFUSED, Trouble.NOT_JSON),
    (401, Trouble.UNAUTHORIZED, Trouble.UNAUTHORIZED),
    (402, Trouble.UNAUTHORIZED, Trouble.UNAUTHORIZED),
    (403, Trouble.UNAUTHORIZED, Trouble.UNAUTHORIZED),
    (404, Trouble.NOT_FOUND, Trouble.NOT_FOUND),
    (405, Trouble.NOT_FOUND, Trouble.NOT_FOUND),
    (408, Trouble.TIMEOUT, Trouble.TIMEOUT),
    (409, Trouble.ENVELOPE, Trouble.NOT_JSON),
    (410, Trouble.NOT_FOUND, Trouble.NOT_FOUND),
    (413, Trouble.REFUSED, Trouble.NOT_JSON),
    (418, Trouble.ENVELOPE, Trouble.NOT_JSON),
    (422, Trouble.REFUSED, Trouble.NOT_JSON),
    (429, Trouble.RATE_LIMITED, Trouble.RATE_LIMITED),
    (500, Trouble.SERVER_ERROR, Trouble.SERVER_ERROR),
    (502, Trouble.SERVER_ERROR, Trouble.SERVER_ERROR),
    (503, Trouble.SERVER_ERROR, Trouble.SERVER_ERROR),
    (524, Trouble.SERVER_ERROR, Trouble.SERVER_ERROR),
    (600, Trouble.SERVER_ERROR, Trouble.SERVER_ERROR),
    (100, Trouble.SERVER_ERROR, Trouble.SERVER_ERROR),
]


@pytest.mark.parametrize(("status_code", "as_json", "as_page"), STATUS_CODES)
def test_the_http_status_comes_first(status_code: int, as_json: Trouble, as_page: Trouble) -> None:
    """Beside a bad status even a finished task in the body counts for nothing."""
    finished = {"code": "success", "data": [row("a", "SUCCESS")]}
    page = b"<html>sorry</html>"

    assert batch(finished, asked=["a"], status_code=status_code) == Bad(
        trouble=as_json,
        message=f"HTTP {status_code}: success",
    )
    assert batch(page, asked=["a"], status_code=status_code, content_type="text/html") == Bad(
        trouble=as_page,
        message=f"HTTP {status_code} (text/html, not JSON): <html>sorry</html>",
    )


@pytest.mark.parametrize("status_code", [200, 201, 202])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain; charset=utf-8", "text/html", ""])
def test_the_first_byte_tells_json(status_code: int, content_type: str) -> None:
    """A content type proves nothing: gin answers JSON as text/plain."""
    body = b'\xef\xbb\xbf {"code": "success", "data": [{"task_id": "a", "status": "SUCCESS"}]}\n'

    reply = batch(body, asked=["a"], status_code=status_code, content_type=content_type)

    assert statuses(reply) == {"a": Status.SUCCESS}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<!doctype html><title>One API</title>", "<!doctype html><title>One API</title>"),
        (b"", "an empty answer"),
        (b'{"code": "success", "data": [{"task_id": "a"', '{"code": "success", "data": [{"task_id": "a"'),
        (b"null", "null"),
        (b"\x00\x8b\x08", "\\x00\\x8b\\x08"),
    ],
)
def test_a_page_with_200(body: bytes, message: str) -> None:
    """HTML, nothing, half an answer or another kind of text with 200: the gateway's trouble."""
    hint = ": wrong base URL?" if body.startswith(b"<") else ""
    expected = Bad(trouble=Trouble.NOT_JSON, message=f"HTTP 200 (text/html, not JSON{hint}): {message}")

    assert batch(body, asked=["a"], content_type="text/html") == expected


@pytest.mark.parametrize("status_code", [200, 400, 429, 503])
def test_retry_after_is_handed_on(status_code: int) -> None:
    """Whatever went wrong, the wait that was asked for goes with it."""
    reply = read_batch(
        status_code=status_code,
        content_type="",
        retry_after=timedelta(seconds=7),
        body=b"",
        asked=["a"],
    )

    assert isinstance(reply, Bad)
    assert reply.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("data", [None, []])
def test_nothing_found(data: object) -> None:
    """Null and an empty list are good answers that name nobody."""
    assert batch({"code": "success", "data": data}, asked=["a", "b"]) == Good(
        observations={"a": Absent(), "b": Absent()},
    )


@pytest.mark.parametrize("data", ["a", 7, True, {}, {"a": 1}])
def test_data_of_another_kind(data: object) -> None:
    """What is no list of rows is no success."""
    reply = batch({"code": "success", "data": data}, asked=["a"])

    assert reply == Bad(trouble=Trouble.ENVELOPE, message="HTTP 200: success")


def test_each_item_by_itself() -> None:
    """Odd items of every kind leave the others as they are."""
    rows = [
        b'{"task_id": "a", "status": "SUCCESS", "data": [1]}',
        b"null",
        b'"text"',
        b'{"task_id": "b", "status": {"odd": true}}',
        b'{"task_id": "c", "status": "SUCCESS", "data": "\xff"}',
        b'{"task_id": "d", "status": "SUCCESS", "data": "\\ud83d \\u0000"}',
        b'{"task_id": "e", "status": "SUCCESS", "data": NaN}',
        b'{"task_id": "f", "status": "SUCCESS", "data": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"task_id": 7, "status": "queued", "progress": {}, "submit_time": "soon", "fail_reason": [1]}',
        b'{"status": "SUCCESS"}',
        b'{"task_id": "g", "status": "FAILURE", "fail_reason": "\xff\\u0000"}',
    ]
    body = b'{"code": "success", "data": [' + b",".join(rows) + b"]}"

    reply = batch(body, asked=["a", "b", "c", "d", "e", "f", "7", "g", "h"])

    assert statuses(reply) == {
        "a": Status.SUCCESS,
        "b": Unreadable,
        "c": Unreadable,
        "d": Status.SUCCESS,
        "e": Unreadable,
        "f": Unreadable,
        "7": Status.SUBMITTED,
        "g": Status.FAILURE,
        "h": Absent,
    }
    assert isinstance(reply, Good)
    assert reply.observations["d"] == Seen(
        status=Status.SUCCESS,
        upstream_status="SUCCESS",
        progress=None,
        fail_reason="",
        times=Times(),
        data='"\\ud83d \\u0000"',
    )
    failed = reply.observations["g"]
    assert isinstance(failed, Seen)
    assert failed.fail_reason == "\ufffd\ufffd"
    assert len(reply.oddities) == 7


def test_oddities_are_bounded() -> None:
    """However many rows are odd, ten lines tell of them."""
    reply = batch(
        {"code": "success", "data": [row(f"x{number}", "SUCCESS") for number in range(50)]}, asked=["a"]
    )

    assert isinstance(reply, Good)
    assert len(reply.oddities) == 10


@pytest.mark.parametrize("count", [99, 100, 101])
def test_one_hubs_cap(count: int) -> None:
    """With exactly 100 rows a missing id may be behind the cap; with any other number it is absent."""
    ids = [f"t{number}" for number in range(count)]

    reply = batch(
        {"code": "success", "data": [row(task_id, "RUNNING") for task_id in ids]}, asked=[*ids, "a"]
    )

    assert isinstance(reply, Good)
    assert reply.observations["a"] == (Unanswered() if count == 100 else Absent())
    assert isinstance(reply.observations["t0"], Seen)


@pytest.mark.parametrize("code", ["failure", 500, "error"])
def test_a_terminal_word_counts_whatever_the_code_says(code: object) -> None:
    """In an answer without success only finished tasks count; the other ids stay unanswered."""
    rows = [row("a", "SUCCESS"), row("b", "FAILURE"), row("c", "IN_PROGRESS"), row("d", "WARPED")]

    reply = batch({"code": code, "data": rows}, asked=["a", "b", "c", "d", "e"])

    assert statuses(reply) == {
        "a": Status.SUCCESS,
        "b": Status.FAILURE,
        "c": Unanswered,
        "d": Unanswered,
        "e": Unanswered,
    }


def test_a_failed_envelope_without_an_end() -> None:
    """Without one finished task among its rows, an answer without success is the gateway's trouble."""
    body = {"code": "failure", "message": "busy", "data": [row("c", "IN_PROGRESS"), row("x", "SUCCESS")]}

    assert batch(body, asked=["c", "e"]) == Bad(trouble=Trouble.ENVELOPE, message="HTTP 200: failure: busy")


@pytest.mark.parametrize(
    "body",
    [
        {"data": [row("a", "IN_PROGRESS")]},
        [row("a", "IN_PROGRESS")],
        [{"id": "a", "status": "IN_PROGRESS"}],
        row("a", "IN_PROGRESS"),
    ],
    ids=["no code", "bare list", "bare list with id", "bare item"],
)
def test_without_a_code_presence_counts_and_absence_does_not(body: object) -> None:
    """What such an answer shows is taken; an id that it does not show is unanswered."""
    assert statuses(batch(body, asked=["a", "b"])) == {"a": Status.IN_PROGRESS, "b": Unanswered}


@pytest.mark.parametrize("body", [[], [row("x", "SUCCESS")], {"data": []}, {"data": None}, {"success": True}])
def test_without_a_code_silence_is_no_answer(body: object) -> None:
    """An answer that carries neither a code nor an asked id proves nothing."""
    reply = batch(body, asked=["a"])

    assert isinstance(reply, Bad)
    assert reply.trouble is Trouble.ENVELOPE


@pytest.mark.parametrize(
    "body",
    [
        {"code": "success", "result": [row("a", "SUCCESS")]},
        {"code": 200, "message": "success"},
        {"code": "success", "tasks": {"a": {"status": "SUCCESS"}}},
    ],
    ids=["rows under another name", "no rows at all", "rows by id"],
)
def test_success_without_data_is_no_answer(body: object) -> None:
    """Only `data` that is null or empty says that nothing was found; where it is missing, nothing is said."""
    for reply in (batch(body, asked=["a"]), single(json.dumps(body).encode())):
        assert isinstance(reply, Bad)
        assert reply.trouble is Trouble.ENVELOPE


@pytest.mark.parametrize(
    "body",
    [
        {"code": "success", "data": None, "result": [row("a", "SUCCESS")]},
        {"code": "success", "data": [{"id": 7, "task": row("a", "SUCCESS")}]},
        {"code": "success", "data": [{"id": 7, "status": "ok", "task": row("a", "SUCCESS")}]},
        {"code": "success", "data": [{"id": 7, "task": {"no": 4711, "path": "a\\/b", "of": "a"}}]},
        {"code": "success", "data": [row("b", "SUCCESS", data={"id": "a"})]},
        {"code": "success", "data": [[row("a", "SUCCESS")]]},
        {"code": "success", "data": [{"x": "y" * 1_100_000}]},
    ],
    ids=[
        "beside the data",
        "inside a stranger",
        "inside a stranger with a word",
        "deep",
        "the upstream's",
        "list",
        "long",
    ],
)
def test_what_an_answer_mentions_is_not_absent(body: object) -> None:
    """An id that stands anywhere but in a row of its own was not understood; that is no absence."""
    reply = batch(body, asked=["a"])

    assert statuses(reply) == {"a": Unreadable}
    assert isinstance(reply, Good)
    assert reply.oddities


@pytest.mark.parametrize(("asked", "spelled"), [("4711", b"4711"), ("a/b", b'"a\\/b"'), ("ä", b'"\\u00e4"')])
def test_a_mention_is_read_as_json(asked: str, spelled: bytes) -> None:
    """Numbers, escaped slashes and escaped letters are mentions too."""
    body = b'{"code": "success", "data": [{"task": {"id": ' + spelled + b"}}]}"

    assert statuses(batch(body, asked=[asked, "b"])) == {asked: Unreadable, "b": Absent}


def test_a_mention_inside_another_task_is_no_mention() -> None:
    """A song that continues another one names it; the other one is absent all the same."""
    rows = [row("b", "RUNNING", data=[{"continue": "a"}]), row("stranger", "SUCCESS")]

    assert statuses(batch({"code": "success", "data": rows}, asked=["a", "b"])) == {
        "a": Absent,
        "b": Status.IN_PROGRESS,
    }


@pytest.mark.parametrize("code", ["success", 200, 500])
def test_an_item_that_is_its_own_envelope(code: object) -> None:
    """A code beside the task id and the status word leaves the item an item."""
    body = {"code": code, "message": "success", "task_id": "a", "status": "failed", "clips": {}}

    for reply in (batch(body, asked=["a"]), single(json.dumps(body).encode())):
        assert isinstance(reply, Good)
        failed = reply.observations["a"]
        assert isinstance(failed, Seen)
        assert (failed.status, failed.fail_reason) == (Status.FAILURE, "")
        assert failed.data == json.dumps(body)


def test_an_envelope_with_an_id_of_its_own() -> None:
    """A request's id and word beside rows do not hide the rows."""
    body = {"code": 200, "task_id": "request-1", "status": "ok", "data": [row("a", "SUCCESS")]}

    assert statuses(batch(body, asked=["a"])) == {"a": Status.SUCCESS}


def test_one_task_object_for_a_batch() -> None:
    """A gateway that answers a batch with one object answers it."""
    assert statuses(batch({"code": 200, "data": row("a", "completed")}, asked=["a", "b"])) == {
        "a": Status.SUCCESS,
        "b": Absent,
    }


def test_camel_case_and_milliseconds() -> None:
    """The item of the resellers that write camelCase in milliseconds reads as the family's."""
    camel = {
        "taskId": "a",
        "status": "FAILURE",
        "failReason": "time out",
        "submitTime": 1783425600123,
        "startTime": 0,
        "finishTime": 1783425660456,
        "progress": "",
    }
    snake = row(
        "a", "FAILURE", fail_reason="time out", submit_time=1783425600.123, finish_time=1783425660.456
    )

    assert batch({"code": 1, "data": [camel]}, asked=["a"]) == batch(
        {"code": 1, "data": [snake]}, asked=["a"]
    )


HUGE = b"9" * 4000  # more digits make no number at all


@pytest.mark.parametrize(
    "number", [HUGE, b"-" + HUGE, b"1e999", b"-1e999", b"1e-999", b"99999999999999999999999"]
)
def test_huge_numbers(number: bytes) -> None:
    """A number that no database takes counts as missing, wherever it stands; the word beside it counts."""
    names = (b"progress", b"submit_time", b"startTime", b"finish_time", b"fail_reason", b"error", b"quota")
    fields = b", ".join(b'"%s": %s' % (name, number) for name in names)
    rows = b'{"task_id": "a", "status": "FAILURE", %s}, {"task_id": %s, "status": "SUCCESS"}' % (
        fields,
        number,
    )
    strange = b'{"task_id": "b", "status": %s}' % number

    reply = batch(b'{"code": "success", "data": [%s, %s]}' % (rows, strange), asked=["a", "b"])

    assert isinstance(reply, Good)
    failed, odd = reply.observations["a"], reply.observations["b"]
    assert isinstance(failed, Seen)
    assert (failed.status, failed.fail_reason, failed.times) == (Status.FAILURE, "", Times())
    assert failed.progress in {None, 0}
    assert isinstance(odd, Seen)
    assert odd.status is None


def test_a_code_that_is_a_huge_number() -> None:
    """It is no success and no crash."""
    body = b'{"code": %s, "data": []}' % HUGE

    assert isinstance(batch(body, asked=["a"]), Bad)


def test_no_key_comes_through() -> None:
    """Keys in errors, in pages and in odd rows are masked."""
    body = {"code": "failure", "message": "[sk-abc***xyz] used up"}
    assert batch(body, asked=["a"]) == Bad(
        trouble=Trouble.ENVELOPE, message="HTTP 200: failure: [sk-…] used up"
    )

    odd = batch({"code": "success", "data": [{"key": "sk-abc"}]}, asked=["a"])
    assert isinstance(odd, Good)
    assert odd.oddities == ('cannot be read: {"key": "sk-…"}',)


@pytest.mark.parametrize(
    ("body", "status_code", "observation"),
    [
        (b'{"code": "task_not_exist", "message": "x"}', 404, Absent()),
        (b'{"code": "task_not_exist", "message": "x"}', 200, Absent()),
        (b'{"code": "success", "data": null}', 200, Absent()),
    ],
)
def test_a_single_fetch_of_an_unknown_id(body: bytes, status_code: int, observation: Observation) -> None:
    """Absence of one id is a good answer, with whatever status it is said."""
    assert single(body, status_code=status_code) == Good(observations={"a": observation})


def test_an_end_counts_beside_a_code_that_denies_it() -> None:
    """`task_not_exist` is an absence only where the answer shows no task."""
    body = b'{"code": "task_not_exist", "data": {"task_id": "a", "status": "%s"}}'

    assert statuses(single(body % b"SUCCESS")) == {"a": Status.SUCCESS}
    assert isinstance(single(body % b"WARPED"), Bad)


@pytest.mark.parametrize(
    ("body", "status_code", "trouble"),
    [
        (b'{"error": {"message": "Invalid URL (GET /suno/fetch/a)"}}', 404, Trouble.NOT_FOUND),
        (b"<html>404</html>", 404, Trouble.NOT_FOUND),
        (b"<html>400</html>", 400, Trouble.NOT_JSON),
        (b'{"code": "task_not_exist"}', 422, Trouble.REFUSED),
        (b'{"code": "task_not_exist"}', 401, Trouble.UNAUTHORIZED),
        (b'{"code": "failure", "data": null}', 200, Trouble.ENVELOPE),
        (b'{"code": "success", "data": "a"}', 200, Trouble.ENVELOPE),
    ],
)
def test_a_single_fetch_in_trouble(body: bytes, status_code: int, trouble: Trouble) -> None:
    """What is no word about the id is the gateway's trouble."""
    reply = single(body, status_code=status_code)

    assert isinstance(reply, Bad)
    assert reply.trouble is trouble


@pytest.mark.parametrize(
    "pasted",
    [
        "https://gateway.example",
        "https://gateway.example/",
        " https://gateway.example// ",
        "https://gateway.example/suno",
        "https://gateway.example/suno/",
        "https://gateway.example/suno/fetch",
        "https://gateway.example/suno/fetch/",
    ],
)
def test_a_base_url_is_taken_as_users_paste_it(pasted: str) -> None:
    """Slashes, `/suno` and `/suno/fetch` at the end make no difference."""
    assert normalise_base_url(pasted) == "https://gateway.example"


@pytest.mark.parametrize(
    "url",
    [
        "https://gateway.example/api",
        "https://gateway.example/sunoco",
        "https://gateway.example/x/fetch",
        "https://suno",
    ],
)
def test_a_base_url_keeps_its_own_path(url: str) -> None:
    """Only what `/suno/…` is built on again is taken off."""
    assert normalise_base_url(url) == url


FLOODS = {
    "numbers": b'{"code":"success","data":[%s0]}' % (b"0," * 400_000),
    "objects": b'{"code":"success","data":[%s{}]}' % (b"{}," * 2_000),
    "rows": b'{"code":"success","data":[%s{}]}' % (b'{"task_id":"a","status":"SUCCESS"},' * 2_000),
    "broken rows": b'{"code":"success","data":[%s{}]}' % (b'{"a":"\\ud83d"},' * 2_000),
    "bare rows": b"[%s{}]" % (b"{}," * 2_000),
    "fields": b'{"code":"success","data":[]%s}' % b"".join(b',"%x":0' % number for number in range(400_000)),
}


@pytest.mark.parametrize("flood", FLOODS)
@pytest.mark.parametrize(
    ("status_code", "trouble"),
    [(200, Trouble.TOO_LARGE), (401, Trouble.UNAUTHORIZED), (502, Trouble.SERVER_ERROR)],
)
def test_an_answer_of_very_many_parts_is_not_taken_apart(
    flood: str, status_code: int, trouble: Trouble
) -> None:
    """Looking at each of them would keep the one event loop busy for minutes, and so hold up every peer."""
    body = FLOODS[flood]

    for reply in (batch(body, asked=["a"], status_code=status_code), single(body, status_code=status_code)):
        assert isinstance(reply, Bad)
        assert reply.trouble is trouble
        assert len(reply.message) < 300


@pytest.mark.parametrize("count", [900, 1100])
def test_rows_beyond_a_thousand_are_no_answer(count: int) -> None:
    """Rows that nobody asked for are passed over, but not without end."""
    rows = [*(row(f"stranger {number}", "SUCCESS") for number in range(count - 1)), row("a", "SUCCESS")]

    reply = batch({"code": "success", "data": rows}, asked=["a"])

    if count == 900:
        assert statuses(reply) == {"a": Status.SUCCESS}
    else:
        assert isinstance(reply, Bad)
        assert (reply.trouble, reply.message) == (
            Trouble.TOO_LARGE,
            "HTTP 200: the answer has more than 1,000 rows or 300,000 parts",
        )


pieces = st.sampled_from(
    [
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b'"code"',
        b'"success"',
        b'"data"',
        b'"task_id"',
        b'"a"',
        b'"status"',
        b'"SUCCESS"',
        b'"clips"',
        b"null",
        b"1e999",
        b'"\xff"',
        b'"\\ud83d"',
        b"\x00",
        b" ",
    ],
)
fields = st.dictionaries(
    st.sampled_from(
        ["task_id", "id", "status", "data", "clips", "progress", "submit_time", "error", "fail_reason"]
    ),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["a", "SUCCESS", "failed", "streaming", "100%", "\ud83d\x00"])
    | st.lists(st.fixed_dictionaries({"status": st.sampled_from(["complete", "error", 3])}), max_size=2),
)
answers = st.fixed_dictionaries(
    {"data": st.lists(fields, max_size=3) | fields | st.none() | st.text(max_size=3)},
    optional={"code": st.sampled_from(["success", 200, 0, "failure", None]), "message": st.text(max_size=5)},
).map(lambda answer: json.dumps(answer).encode())


@given(
    body=st.binary() | st.lists(pieces, max_size=30).map(b"".join) | answers,
    status_code=st.integers(min_value=100, max_value=599) | st.just(200),
    content_type=st.text(max_size=10),
    action=st.sampled_from(Action),
)
def test_any_bytes_are_an_answer(body: bytes, status_code: int, content_type: str, action: Action) -> None:
    """Whatever comes in: no exception, one observation for each asked id, one printable line of trouble."""
    replies = [
        read_batch(
            status_code=status_code,
            content_type=content_type,
            retry_after=None,
            body=body,
            asked=["a", "b"],
        ),
        read_single(
            status_code=status_code,
            content_type=content_type,
            retry_after=None,
            body=body,
            asked="a",
            action=action,
        ),
    ]

    for reply, asked in zip(replies, [{"a", "b"}, {"a"}], strict=True):
        if isinstance(reply, Bad):
            assert reply.message.isprintable()
            continue
        assert set(reply.observations) == asked
        assert all(line.isprintable() for line in reply.oddities)
        for said in reply.observations.values():
            if isinstance(said, Seen):
                storable = f"{said.upstream_status}{said.fail_reason}{said.data or ''}"
                storable.encode()
                assert "\0" not in storable
