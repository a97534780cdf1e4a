from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cli.terminal import Section, one_line, plain, print_json, printable


@given(st.text(st.characters()))
def test_printable_text_has_nothing_hidden(text: str) -> None:
    """Whatever a stranger wrote, lone surrogates included, each character of the result can be seen."""
    assert printable(text).isprintable()
    assert one_line(text).isprintable()
    assert len(one_line(text, limit=10)) <= 10


@given(st.text())
def test_json_reads_back_as_it_was(text: str) -> None:
    """Escaping what is invisible changes no value."""
    with pytest.MonkeyPatch.context() as patch:
        printed: list[bytes] = []
        patch.setattr("worker.cli.terminal.click.echo", printed.append)

        print_json({"text": text})

    (line,) = printed
    assert json.loads(line) == {"text": text}
    assert all(one.isprintable() for one in line.decode())


def test_plain_tables_are_aligned() -> None:
    """Columns begin below each other, also beside wide characters; no table is drawn for nothing."""
    table = Section(title="Songs", columns=("name", "n"), rows=[("龍", 1), ("abc", 22)])
    nothing = Section(title="Empty", columns=("name", "n"), rows=[])
    facts = Section(title="", columns=("", ""), rows=[("a", "b")])

    assert plain([table, nothing, facts]) == ("Songs\nname  n\n龍    1\nabc   22\n\nEmpty\nnone\n\na  b")
