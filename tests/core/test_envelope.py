from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.envelope import Envelope, complaint, open_envelope


def opened(body: object) -> Envelope:
    """Open an envelope that is one."""
    envelope = open_envelope(json.dumps(body).encode())
    assert envelope is not None
    return envelope


@pytest.mark.parametrize("code", ["success", "SUCCESS", " ok ", 200, "200", 0, 1, "1", True], ids=repr)
def test_codes_of_success(code: object) -> None:
    """Every gateway has its own code for success."""
    assert opened({"code": code, "data": [1]}).success is True


@pytest.mark.parametrize("code", ["error", "failure", 500, "404", 22, -1, False, 1.5, "successful"], ids=repr)
def test_codes_of_failure(code: object) -> None:
    """Any other code is no success."""
    assert opened({"code": code, "data": [1]}).success is False


@pytest.mark.parametrize("code", [None, "", " ", [], {}], ids=repr)
def test_no_code_says_neither(code: object) -> None:
    """An empty code says nothing, nor does a missing one."""
    assert opened({"code": code, "data": [1]}).success is None
    assert opened({"data": [1]}).success is None


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'{"code": 0, "data": {"a" : 1}}', b'{"a" : 1}'),
        (b'{"code": 0}', b""),
        (b'{"code": 0, "data": null}', b"null"),
        (b'{"task_id": "a", "status": "x"}', b'{"task_id": "a", "status": "x"}'),
        (b'{"taskId": "a", "data": []}', b'{"taskId": "a", "data": []}'),
        (b'{"code": 0, "task_id": "a", "data": []}', b"[]"),
        (b' [{"a": 1}] ', b'[{"a": 1}]'),
        (b'\xef\xbb\xbf{"code": 0, "data": 1}', b"1"),
    ],
)
def test_what_is_inside(body: bytes, data: bytes) -> None:
    """`data` is what lies inside; without an envelope the whole answer is."""
    envelope = open_envelope(body)

    assert envelope is not None
    assert envelope.data == data


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"null", b'"a"', b"7", b'{"code": 1', b"[1", b"{} {}", b"\x1f\x8b"]
)
def test_what_is_no_envelope(body: bytes) -> None:
    """Only a JSON object or array can be an answer."""
    assert open_envelope(body) is None


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"error": {"message": "busy", "code": "x"}}', "busy"),
        (b'{"code": "a", "error_message": "busy", "message": "success"}', "a: busy"),
        (b'{"code": 500, "message": "busy\\n now"}', "500: busy now"),
        (b'{"code": "failure", "message": ""}', "failure"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"message": "Bearer abc"}', "Bearer…"),
        (b'{"a": 1}', '{"a": 1}'),
        (b"<p>502</p>", "<p>502</p>"),
        (b" \n", "an empty answer"),
    ],
)
def test_a_complaint_is_one_safe_line(body: bytes, line: str) -> None:
    """Code and message where there are some, else the start of the answer; keys masked."""
    assert complaint(body) == line


@given(body=st.binary())
def test_any_bytes_make_a_complaint(body: bytes) -> None:
    """There is always something printable to say about a bad answer."""
    assert complaint(body).isprintable()
    assert complaint(body) != ""
