"""The clients are asynchronous: their tests run on an event loop of their own, one for each test."""

from __future__ import annotations

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """Name the only kind of event loop that the program runs on."""
    return "asyncio"
