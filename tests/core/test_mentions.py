from __future__ import annotations

import pytest

from worker.core.mentions import mentions

MIB = 1024 * 1024


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
    ],
    ids=lambda value: repr(value)[:30],
)
def test_an_id_is_found_as_json_writes_it(text: bytes, found: list[str]) -> None:
    """Strings in every spelling and whole numbers count, parts of them do not."""
    assert mentions([text], asked=["a", "a/b", "4711"]) == dict.fromkeys(found, text)


def test_the_first_mention_is_given() -> None:
    """Each id comes with the first text that it stands in."""
    texts = [b"1", b'["b"]', b'["a", "b"]', b'["a"]']

    assert mentions(texts, asked=["a", "b", "c"]) == {"a": texts[2], "b": texts[1]}


def test_the_search_is_bounded() -> None:
    """What stands beyond the first megabyte of an answer is not searched, so it may mention anyone."""
    texts = [b'["b"]', b" " * (MIB - 5), b"!"]

    assert mentions(texts[:2], asked=["a", "b"]) == {"b": texts[0]}
    assert mentions(texts, asked=["a", "b"]) == {"a": texts[2], "b": texts[0]}


@pytest.mark.timeout(10)
def test_a_string_without_an_end_is_searched_once() -> None:
    """A megabyte of quotes that never close takes a moment, not minutes."""
    assert mentions([b'"a\\' * 340_000], asked=["b"]) == {}
