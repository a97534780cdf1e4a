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
    before: Results,
    *,
    scenario: str,
    figures: Mapping[str, float] | None,
    failure: str | None,
    took_s: int,
) -> dict[str, float | str]:
    """Return the results with those of one scenario, or with the reason why it has none this time.

    How many rounds it made and how long it took stand beside its figures: `rounds_of_…`, `seconds_of_…`.
    """
    failed, found = f"failed_{scenario}", dict(figures or {})
    kept = {key: value for key, value in before.items() if key != failed}
    if failure is not None:
        return kept | {failed: failure}
    about = {f"rounds_of_{scenario}": int(found.pop("rounds")), f"seconds_of_{scenario}": took_s}
    return kept | found | about


def is_figure(key: str) -> bool:
    """Say whether a key is a figure's, and no note about a scenario."""
    return not key.startswith(("rounds_of_", "seconds_of_"))


def save(results: Results, *, name: str) -> None:
    """Keep the results; figures are rounded to 5 digits, more are noise."""
    FOLDER.mkdir(exist_ok=True)
    rounded = {key: float(f"{one:.5g}") if isinstance(one, float) else one for key, one in results.items()}
    (FOLDER / f"{name}.json").write_text(
        json.dumps(rounded, indent=2, sort_keys=True) + "\n", encoding="utf-8"
    )
