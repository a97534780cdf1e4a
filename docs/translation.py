"""Of which text of README.md each section of README.zh-CN.md is the translation.

Under each heading of the translation stands the fingerprint of the section that was translated. When
README.md changes, a test names the sections that are behind; `python -m docs.translation` writes the
fingerprints again, after the translation. What a program writes into both pages, between the marks
`<!-- NAME: begin -->` or ``<!-- … by `make NAME` -->`` and their end, is no part of a fingerprint.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENGLISH = ROOT / "README.md"
CHINESE = ROOT / "README.zh-CN.md"

WRITTEN = re.compile(r"<!-- [^>]*?(?:: begin|by `make \w+`) -->.*?<!-- (?:\w+: )?end -->", re.DOTALL)
STAMP = re.compile(r"^<!-- translated from ([0-9a-f]{8}) -->\n\n?", re.MULTILINE)
FENCE = "```"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading, with its `#`, and what stands below it until the next."""

    heading: str
    body: str

    @property
    def fingerprint(self) -> str:
        """Return eight digits that change with the words, not with their line breaks."""
        words = " ".join([self.heading, *WRITTEN.sub("", self.body).split()])
        return hashlib.sha256(words.encode()).hexdigest()[:8]

    @property
    def stamp(self) -> str | None:
        """Return the fingerprint of the text that this one is the translation of."""
        found = STAMP.search(self.body)
        return found[1] if found else None


def sections(text: str) -> list[Section]:
    """Return the sections of a page in their order; a `#` in a code block is no heading."""
    found: list[list[str]] = []
    in_code = False
    for line in text.splitlines(keepends=True):
        in_code ^= line.startswith(FENCE)
        if line.startswith("#") and not in_code:
            found.append([])
        found[-1].append(line)
    return [Section(heading=first.rstrip("\n"), body="".join(rest)) for first, *rest in found]


def stamped(*, english: str, chinese: str) -> str:
    """Return the translation with the fingerprints of the sections as they are now."""
    pairs = zip(sections(chinese), sections(english), strict=True)
    return "".join(
        f"{ours.heading}\n\n<!-- translated from {theirs.fingerprint} -->\n\n"
        f"{STAMP.sub('', ours.body).lstrip(chr(10))}"
        for ours, theirs in pairs
    )


if __name__ == "__main__":
    text = stamped(english=ENGLISH.read_text(encoding="utf-8"), chinese=CHINESE.read_text(encoding="utf-8"))
    CHINESE.write_text(text, encoding="utf-8")
