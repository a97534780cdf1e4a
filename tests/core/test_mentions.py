from __future__ import annotations

import pytest

from worker.core.mentions import mentioned


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b'{"task": {"id": "a"}}', ["a"]),
        (b'["a/b"]', ["a/b"]),
        (rb'["a\/b"]', ["a/b"]),
        (rb'["\u0061"]', ["a"]),
        (b"[4711]", ["4711"]),
        (b'{"4711": {}}', ["4711"]),
        (b'"not a word alone", 47110', []),
        (b'"a', []),
        (b"", []),
        (b" " * (1024 * 1024 + 1), ["a", "a/b", "4711"]),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_id_is_found_as_json_writes_it(text: bytes, found: list[str]) -> None:
    """Strings in every spelling and whole numbers; a text too long to be searched may mention anyone."""
    assert mentioned(text, asked=["a", "a/b", "4711"]) == found


@pytest.mark.timeout(10)
def test_a_string_without_an_end_is_searched_once() -> None:
    """A megabyte of quotes that never close takes a moment, not minutes."""
    assert mentioned(b'"a\\' * 340_000, asked=["b"]) == []
