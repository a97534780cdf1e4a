"""Both READMEs show the same: commands, code, settings, links, headings; and neither is behind the other."""

from __future__ import annotations

import re

import pytest

from docs.translation import WRITTEN, Section, sections, stamped
from tests.pages import Page

ENGLISH = Page.read("README.md")
CHINESE = Page.read("README.zh-CN.md")
PAIRS = list(zip(sections(ENGLISH.text), sections(CHINESE.text), strict=True))
TABLES_WITH_VALUES = 3  # columns that are no prose in a table of settings: variable, default, unit


def blocks(text: str) -> list[str]:
    """Return the code blocks without their comments, which may be translated."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [f"{language}\n{re.sub(r' *# .*', '', code)}" for language, code in found]


def spans(text: str) -> set[str]:
    """Return the inline code of a text."""
    return set(re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)))


def targets(text: str) -> list[str]:
    """Return where the links lead, but for those within the page, whose anchors are words."""
    found = re.findall(r"\]\(([^)]+)\)|<(https?://[^>]+)>", text)
    return [one or other for one, other in found if not one.startswith(("#", "README"))]


def rows(text: str) -> list[list[str]]:
    """Return the cells of all tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" |")] for line in lines]


def test_each_leads_to_the_other() -> None:
    """A reader finds the other language at the top."""
    assert "[简体中文](README.zh-CN.md)" in PAIRS[0][0].body.splitlines()[1]
    assert "[English](README.md)" in "\n".join(PAIRS[0][1].body.splitlines()[:4])


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].heading)
def test_a_section_shows_the_same(pair: tuple[Section, Section]) -> None:
    """Headings of one depth, the same code, the same commands and names in the text, the same links."""
    english, chinese = pair

    assert english.heading.count("#") == chinese.heading.count("#")
    assert blocks(chinese.body) == blocks(english.body)
    assert spans(chinese.body) == spans(english.body)
    assert sorted(targets(chinese.body)) == sorted(targets(english.body))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].heading)
def test_tables_have_the_same_rows(pair: tuple[Section, Section]) -> None:
    """A row for a row; what is code stays code, and a setting has the same name, default and unit."""
    english, chinese = (rows(one.body) for one in pair)

    assert [len(cells) for cells in chinese] == [len(cells) for cells in english]
    for theirs, ours in zip(english, chinese, strict=True):
        if theirs[0].startswith("`WORKER_"):
            assert ours[:TABLES_WITH_VALUES] == theirs[:TABLES_WITH_VALUES]
        elif theirs[0].startswith("`"):
            assert ours[0] == theirs[0]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].heading)
def test_what_programs_write_is_the_same(pair: tuple[Section, Section]) -> None:
    """A table that a program writes stands in both pages."""
    english, chinese = pair

    found = [[one[0] for one in WRITTEN.finditer(page.body)] for page in (english, chinese)]
    assert found[1] == found[0]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].heading)
def test_the_translation_is_not_behind(pair: tuple[Section, Section]) -> None:
    """A section of README.md that has changed since its translation is named."""
    english, chinese = pair

    assert chinese.stamp == english.fingerprint, (
        f"README.md's section {english.heading!r} has changed: bring README.zh-CN.md up to date, and then"
        " run `.venv/bin/python -m docs.translation`"
    )


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("<!-- speed: begin -->", "<!-- speed: end -->"),
        ("<!-- made by `make chaos` -->", "<!-- end -->"),
    ],
)
def test_a_changed_word_is_noticed(begin: str, end: str) -> None:
    """Another word changes a section's fingerprint; a line break, or what a program writes, does not."""
    text = f"# A\none two\n{begin}\n3\n{end}\n## B\n```sh\n# no heading\n```\n"
    first, second = sections(text)

    same = sections(text.replace("one two", "one\ntwo").replace("3", "4"))
    other = sections(text.replace("two", "2"))
    assert [one.heading for one in (first, second)] == ["# A", "## B"]
    assert [one.fingerprint for one in same] == [first.fingerprint, second.fingerprint]
    assert other[0].fingerprint != first.fingerprint
    assert other[1].fingerprint == second.fingerprint


def test_stamping_twice_changes_nothing() -> None:
    """Fingerprints are written once under each heading, and the words below stay as they are."""
    english, chinese = "# A\n\none\n\n## B\n\ntwo\n", "# 甲\n\n一\n\n## 乙\n\n二\n"

    once = stamped(english=english, chinese=chinese)

    assert stamped(english=english, chinese=once) == once
    assert [one.stamp for one in sections(once)] == [one.fingerprint for one in sections(english)]
    assert re.sub(r"<!--.*?-->\n\n", "", once) == chinese
