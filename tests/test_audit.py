"""The audit fails for a known weakness, and not for a service that cannot be reached, of which it tells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parent.parent / ".ci/audit.py"
SKIPPED = {"name": "worker", "skip_reason": "not found"}
GOOD = {"name": "click", "version": "8.3.1", "vulns": []}
WEAK = {
    "name": "aiohttp",
    "version": "3.0",
    "vulns": [{"id": "CVE-2026-1", "fix_versions": ["3.1", "3.0.5"], "aliases": [], "description": "…"}],
}


def audit(folder: Path, **said: str) -> subprocess.CompletedProcess[str]:
    """Run the audit with a pip-audit that says, for each service, what is given."""
    words = json.dumps(said)
    (folder / "pip_audit.py").write_text(
        "import sys\n"
        f"said = {words}\n"
        "option = '--vulnerability-service='\n"
        "(service,) = [one.removeprefix(option) for one in sys.argv if one.startswith(option)]\n"
        "print(said.get(service, ''))\n"
    )
    return subprocess.run(
        [sys.executable, AUDIT],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def report(*packages: object) -> str:
    """Return a report of pip-audit."""
    return json.dumps({"dependencies": packages, "fixes": []})


@pytest.mark.parametrize("service", ["pypi", "osv"])
def test_a_known_weakness_fails_the_run(tmp_path: Path, service: str) -> None:
    """Whichever service knows it: exit 1, and a line with package, name and repair."""
    done = audit(tmp_path, **{service: report(SKIPPED, GOOD, WEAK)})

    assert done.returncode == 1
    assert done.stdout == (
        "audit: aiohttp 3.0: CVE-2026-1, repaired in 3.1, 3.0.5\naudit: 2 packages, 1 known weaknesses\n"
    )


def test_no_known_weakness_is_said(tmp_path: Path) -> None:
    """A service that was reached and knows of none lets the run pass."""
    done = audit(tmp_path, pypi=report(SKIPPED, GOOD))

    assert (done.returncode, done.stdout) == (0, "audit: 1 packages, 0 known weaknesses\n")


@pytest.mark.parametrize(
    "said", [{}, {"pypi": report(SKIPPED), "osv": "Traceback …"}], ids=["silent", "knows no package"]
)
def test_a_service_out_of_reach_is_said_and_fails_nothing(tmp_path: Path, said: dict[str, str]) -> None:
    """A line says that nothing was audited; a build does not depend on somebody else's service."""
    done = audit(tmp_path, **said)

    assert done.returncode == 0
    assert done.stdout.startswith("audit: NOT DONE: ")
