"""Programs that no Python package brings: `make test-system` installs their Debian packages."""

from __future__ import annotations

import shutil

import pytest

PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "systemd-analyze": "systemd",
}


def program(name: str) -> str:
    """Return where a program is; fail with the package to install when it is nowhere."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: apt-get install {PACKAGES[name]}")
    return found
