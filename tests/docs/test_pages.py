from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.pages import ROOT, Page, check_usage

PAGES = [
    Page.read(str(path.relative_to(ROOT)))
    for folder in (".", "docs", "examples", "examples/scenarios", "tests/chaos")
    for path in sorted((ROOT / folder).glob("*.md"))
]
CALLS = {
    shlex.join(words): words
    for page in PAGES
    if page.path != "CHANGELOG.md"  # it tells of options, not of calls
    for words in page.commands("suno-worker")
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_links(page: Page) -> None:
    """Every link into the repository leads to something."""
    for target in page.links():
        assert (ROOT / page.path).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_anchors(page: Page) -> None:
    """Every link to a heading, of this page or of another one, leads to a heading."""
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", page.text):
        there = (ROOT / page.path).parent.joinpath(path) if path else ROOT / page.path
        headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {slug(heading) for heading in headings}, f"{path}#{anchor}"


def slug(heading: str) -> str:
    """Return the anchor of a heading: its letters and digits in lower case, a hyphen for each space."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("call", CALLS)
def test_commands(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `suno-worker …` of any page is a command with such options."""
    check_usage(CALLS[call], folder=tmp_path, monkeypatch=monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_make_targets(page: Page) -> None:
    """Every `make …` of any page is a target."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))

    assert {words[1] for words in page.commands("make")} <= targets
