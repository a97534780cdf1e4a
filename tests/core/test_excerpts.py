from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.excerpts import EXCERPT_LENGTH, excerpt


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Invalid token", "Invalid token"),
        ("two\r\n  lines\tand more ", "two lines and more"),
        ("任务超时", "任务超时"),
        ("\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        ("right\u202eto left", "right\\u202eto left"),
        ("half \ud83d", "half \\ud83d"),
        (b"bytes \xff", "bytes \\xff"),
        ("", ""),
    ],
)
def test_an_excerpt_is_one_printable_line(text: str | bytes, line: str) -> None:
    """White space becomes single spaces, what cannot be printed its escape, other scripts stay."""
    assert excerpt(text) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[sk-abc***xyz] used up", "[sk-…] used up"),
        ("令牌sk-abc123", "令牌sk-…"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer…"),
        ("SK-ABC", "SK-…"),
        ('{"key":"sk-proj-1_2"}', '{"key":"sk-…"}'),
        ("secret whsec_QUJD=", "secret whsec_…"),
        ("task-12 and risk-free", "task-12 and risk-free"),
    ],
)
def test_keys_are_masked(text: str, line: str) -> None:
    """What looks like a key never comes through; words that only contain `sk-` do."""
    assert excerpt(text) == line


def test_a_long_text_is_cut_behind_its_mask() -> None:
    """The cut comes after the masking, so that it cannot bare the start of a key."""
    assert excerpt("x" * 195 + " sk-" + "a" * 5000) == "x" * 195 + " sk-…"
    assert excerpt("y" * 201) == "y" * 200 + "…"


@given(text=st.text() | st.binary())
def test_any_text_makes_an_excerpt(text: str | bytes) -> None:
    """Whatever comes in, one printable line of at most 200 characters and a mark comes out."""
    line = excerpt(text)

    assert line.isprintable()
    assert len(line) <= EXCERPT_LENGTH + 1
