"""The three sources that the simulated gateway plays, and the variables that point a worker at them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One source: its name among a worker's gateways, its path in the sandbox, and how it is fetched."""

    name: str
    prefix: str
    fetch: str  # batch or single


SOURCES = (
    Source(name="openai_hub", prefix="/openai-hub", fetch="batch"),
    Source(name="rixapi", prefix="/rixapi", fetch="batch"),
    Source(name="nengyongai", prefix="/nengyongai", fetch="single"),
)


def variables(*, url: str, api_key: str) -> Mapping[str, str]:
    """Return the environment that makes a worker use the sandbox at `url` as its three gateways."""
    return {
        f"WORKER_GATEWAYS__{source.name.upper()}__{key}": value
        for source in SOURCES
        for key, value in (
            ("BASE_URL", f"{url}{source.prefix}"),
            ("API_KEY", api_key),
            ("FETCH", source.fetch),
        )
    }
