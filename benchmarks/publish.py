"""Write the READMEs' table and docs/capacity.md from the kept results: `python -m benchmarks.publish`."""

from __future__ import annotations

import re

from benchmarks.capacity import document
from benchmarks.programs import ROOT
from benchmarks.report import readme_block
from benchmarks.results import Results, load

READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")  # the table speaks English in both
CAPACITY = ROOT / "docs" / "capacity.md"
BLOCK = re.compile(r"(?<=<!-- benchmark: begin -->\n).*?(?=<!-- benchmark: end -->)", re.DOTALL)


def with_block(readme: str, results: Results) -> str:
    """Return README with the table of these results between its marks."""
    written, count = BLOCK.subn(lambda _: f"\n{readme_block(results)}\n", readme)
    if count != 1:
        raise ValueError("a README needs <!-- benchmark: begin --> and <!-- benchmark: end --> once")
    return written


def publish(results: Results) -> None:
    """Write them all; a repeated call changes nothing."""
    for readme in READMES:
        readme.write_text(with_block(readme.read_text(encoding="utf-8"), results), encoding="utf-8")
    CAPACITY.parent.mkdir(exist_ok=True)
    CAPACITY.write_text(document(results), encoding="utf-8")


if __name__ == "__main__":
    publish(load("latest"))
