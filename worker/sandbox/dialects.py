"""The kinds of gateway that the sandbox plays, and the paths where it plays them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Dialect(StrEnum):
    """Which family member a base URL of the sandbox plays."""

    NEW_API = "new-api"
    GOAMZ = "goamz"
    SUNO_API = "suno-api"


PREFIXES: Mapping[str, Dialect] = {
    "": Dialect.NEW_API,
    "/openai-hub": Dialect.NEW_API,
    "/rixapi": Dialect.NEW_API,
    "/nengyongai": Dialect.GOAMZ,
    "/suno-api": Dialect.SUNO_API,
}
