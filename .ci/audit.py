"""Audit the installed packages with pip-audit: exit 1 for a known weakness, 0 otherwise.

The answers come from a public service. One that cannot be reached fails no run: it would make every build
depend on it. Then a line says that nothing was audited. A service that knows none of the packages is taken
for one that was not reached, which is what a mirror or a proxy in between looks like.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

SERVICES = ("pypi", "osv")  # pip-audit's words; the second is asked when the first says nothing
PATIENCE_S = 120  # for one service
REQUEST_S = 10

NOT_AUDITED = "audit: NOT DONE: no service for known weaknesses could be reached; nothing was audited"


def audited(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the packages that the service knew."""
    return [one for one in report["dependencies"] if "skip_reason" not in one]


def weaknesses(packages: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each known weakness: package, version, name, and where it is repaired."""
    return [
        f"{one['name']} {one['version']}: {known['id']}, repaired in "
        f"{', '.join(known['fix_versions']) or 'no version yet'}"
        for one in packages
        for known in one["vulns"]
    ]


def ask(service: str) -> Mapping[str, Any] | None:
    """Return pip-audit's report; None when the service was not reached."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--format=json",
        "--progress-spinner=off",
        "--skip-editable",
    ]
    options = [f"--vulnerability-service={service}", f"--timeout={REQUEST_S}"]
    try:
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        report: Mapping[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return report


def main() -> int:
    """Ask one service after the other until one knows our packages; say what it knows."""
    for service in SERVICES:
        report = ask(service)
        packages = audited(report) if report is not None else []
        if packages:
            found = weaknesses(packages)
            for line in found:
                print(f"audit: {line}")
            print(f"audit: {len(packages)} packages, {len(found)} known weaknesses")
            return 1 if found else 0
    print(NOT_AUDITED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
