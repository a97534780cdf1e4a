"""Waiting for programs of others, which tell nobody when they are ready."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

PATIENCE_S = 120.0


def wait_until(condition: Callable[[], object], *, what: str) -> None:
    """Return when the condition holds; a server that does not answer yet, or not well, is no failure."""
    deadline = time.monotonic() + PATIENCE_S
    problem = ""
    while time.monotonic() < deadline:
        try:
            if condition():
                return
        except httpx.HTTPError as error:
            problem = f": {error!r}"
        time.sleep(0.1)
    pytest.fail(f"{what}: not within {PATIENCE_S} s{problem}")
