"""The short form of the fault suite: every fault on both databases, side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.programs import ROOT, environment
from tests.chaos.table import as_text, from_json

LONGEST_S = 240  # on a machine that does other things too; alone it takes about a third


@pytest.mark.timeout(LONGEST_S + 20)
def test_nothing_is_lost(tmp_path: Path) -> None:
    """Whatever breaks: no promised result is lost, and a copy is one of an attempt that was in flight."""
    file = tmp_path / "report.json"

    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--short", "--json", file],
        cwd=ROOT,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )

    assert file.exists(), ended.stderr
    report = from_json(file.read_bytes())
    print(as_text(report.rows))  # noqa: T201 - shown where the test fails
    assert not [row for row in report.rows if row.failed]
    assert ended.returncode == 0
