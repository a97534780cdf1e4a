from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.pages import ROOT, Page, check_usage

PAGES = [
    Page.read(str(path.relative_to(ROOT)))
    for folder in (".", "docs", "examples", "examples/scenarios")
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


@pytest.mark.parametrize("call", CALLS)
def test_commands(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `suno-worker …` of any page is a command with such options."""
    check_usage(CALLS[call], folder=tmp_path, monkeypatch=monkeypatch)
