from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def samples() -> Path:
    """Give the folder of the gateways' example bodies."""
    return Path(__file__).parents[1] / "samples"
