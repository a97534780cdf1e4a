from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.raw_json import document, elements, members, scalar, trimmed

HALF_A_PAIR = rb'"cut \ud83d"'
DEEP = b"[" * 5000 + b"]" * 5000

# Faults for which msgspec refuses a whole document, each as one value.
FAULTS = [
    HALF_A_PAIR,
    b"NaN",
    b'"\x00"',
    b'"line\nbreak"',
    rb'"\q"',
    rb'"\uzzzz"',
    b"01",
    DEEP,
    rb'"} , \" ] \\"' + b"\x01",
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: repr(fault)[:20])
def test_a_fault_stays_in_its_part(fault: bytes) -> None:
    """One faulty value leaves all others, and its own text, as they came."""
    assert elements(b' [1, {"a": [2]} ,' + fault + b', "x" ] ') == [b"1", b'{"a": [2]}', fault, b'"x"']
    assert members(b'{"a": 1, "b" :' + fault + b', "c": {"d": [3]}}') == {
        "a": b"1",
        "b": fault,
        "c": b'{"d": [3]}',
    }


@pytest.mark.parametrize("text", [b"[]", b" [ ] ", b"{}", b"{ }"])
def test_nothing_inside(text: bytes) -> None:
    """Empty brackets hold no parts."""
    assert not elements(text)
    assert not members(text)


def test_the_last_of_two_members_counts() -> None:
    """As in every JSON reader, also where the text must be cut."""
    assert members(b'{"a": 1, "a": 2}') == {"a": b"2"}
    assert members(b'{"a": 1, "a": NaN}') == {"a": b"NaN"}


def test_a_faulty_name_stays_in_its_part() -> None:
    """An undecodable name has its bytes replaced, one that is no string is left out; the others stay."""
    assert members(b'{"\xff": 1, "a": 2}') == {"\ufffd": b"1", "a": b"2"}
    assert members(b'{NaN: 1, "a": 2}') == {"a": b"2"}


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"{",
        b"}",
        b'{"a"}',
        b'{"a": 1',
        b'{"a": 1}}',
        b'{"a": 1} {}',
        b"[1]",
        b'"{}"',
        b"null",
        b"{,}x",
    ],
)
def test_what_is_no_object(text: bytes) -> None:
    """Broken and other texts are no object: None, not an exception."""
    assert members(text) is None


@pytest.mark.parametrize(
    "text", [b"", b"[", b"]", b"[1", b"[1]]", b"[[NaN]", b"[1] 2", b'{"a": 1}', b'"[]"', b"null"]
)
def test_what_is_no_array(text: bytes) -> None:
    """Broken and other texts are no array: None, not an exception."""
    assert elements(text) is None


def test_cutting_stops_at_8_mib() -> None:
    """A faulty text beyond 2 MiB is not cut: it would hold the worker up for a second and more."""
    large = b'["' + b"x" * (2 * 1024 * 1024) + b'"'

    assert elements(large + b"]") == [large[1:]]
    assert elements(large + b", NaN]") is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'"a"', "a"),
        (b'""', ""),
        (b"7", 7),
        (b"1.5", 1.5),
        (b"true", True),
        (b"null", None),
        (b"[1]", None),
        (b'{"a": 1}', None),
        (b"x", None),
        (b"", None),
        (b'"\\u0000 and \\ud83d"', "\ufffd and \ufffd"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\xff"', "\ufffd"),
        (b'"a\x00b"', "a\ufffdb"),
        (b'"line\nbreak"', "line\nbreak"),
        (b"1" * 5000, None),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_scalar_is_fit_for_a_database(text: bytes, value: object) -> None:
    """Strings come without NUL and halves of pairs, numbers as they are, all else as None."""
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@pytest.mark.parametrize("text", ['{"a": [1, "\\u0000"]}', '"\\ud83d"', " [1] ", "null", "1e999"])
def test_a_document_keeps_its_text(text: str) -> None:
    """A valid document comes back as it is, escapes and spaces too."""
    assert document(text.encode()) == text


@pytest.mark.parametrize(
    "text",
    [
        b'"\xff"',
        b"NaN",
        b'["\\ud83d", Infinity]',
        b'"\x00"',
        rb'"\q"',
        DEEP,
        b"",
        b"[1",
        b"{} {}",
        b'{"a": "\xc3"}',
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_is_no_document(text: bytes) -> None:
    """Bytes that are no UTF-8 and text that is no JSON are None: no receiver could read them."""
    assert document(text) is None


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    """A mark and white space around an answer are taken off."""
    assert trimmed(b"\xef\xbb\xbf \r\n{}\n") == b"{}"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(
    parts=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], min_codepoint=1)), values, max_size=6
    ),
    ascii_only=st.booleans(),
)
def test_cutting_reads_as_msgspec_reads(parts: dict[str, object], ascii_only: bool) -> None:
    """With a fault at the end the text is cut, and every other part is the same as without it."""
    text = json.dumps(parts, ensure_ascii=ascii_only).encode(errors="surrogatepass")
    separator = b", " if parts else b""
    faulty = text[:-1] + separator + b'"": NaN}'

    cut = members(faulty)

    assert cut is not None
    whole = members(text)
    assert whole is not None
    assert {name: value for name, value in cut.items() if name} == {
        name: value for name, value in whole.items() if name
    }


@given(text=st.binary() | st.text(alphabet='{}[]",:\\ \x00aN1').map(str.encode))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    """No bytes raise, and what comes back is a part of what came in."""
    for part in [*(elements(text) or []), *(members(text) or {}).values()]:
        assert part in text
    scalar(text)
    assert document(text) in (None, text.decode(errors="replace"))
