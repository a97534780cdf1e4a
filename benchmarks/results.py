"""What was measured, as one flat JSON object: a repeated scenario replaces its own figures and no others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).with_name("results")
Results = Mapping[str, float | str]


def load(name: str) -> dict[str, float | str]:
    """Return what is kept under a name; nothing at first."""
    file = FOLDER / f"{name}.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def merged(
    before: Results, *, scenario: str, figures: Mapping[str, float] | None, failure: str | None
) -> dict[str, float | str]:
    """Return the results with those of one scenario, or with the reason why it has none this time."""
    failed = f"failed_{scenario}"
    kept = {key: value for key, value in before.items() if key != failed}
    return kept | dict(figures or {}) | ({failed: failure} if failure else {})


def save(results: Results, *, name: str) -> None:
    """Keep the results; figures are rounded to 5 digits, more are noise."""
    FOLDER.mkdir(exist_ok=True)
    rounded = {key: float(f"{one:.5g}") if isinstance(one, float) else one for key, one in results.items()}
    (FOLDER / f"{name}.json").write_text(
        json.dumps(rounded, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )
