"""The results as Markdown: the ratios with their goals first, then what informs, scenario by scenario."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.absolutes import ABSOLUTES
from benchmarks.figures import RATIOS, Figure, said
from benchmarks.results import Results
from benchmarks.scenarios import SCENARIOS

UNKNOWN = "unknown"
COMMAND = "`.venv/bin/{}`"


def number(results: Results, key: str) -> float | None:
    """Return a figure, or None when it was not measured."""
    value = results.get(key)
    return float(value) if isinstance(value, (int, float)) else None


def rounds(results: Results, figure: Figure) -> str:
    """Return of how many rounds a figure is the median, as its scenario counted them."""
    counted = results.get(f"rounds_of_{figure.scenario}")
    if number(results, figure.key) is None or counted is None:
        return ""
    return "1" if figure.once else str(counted)


def minutes(results: Results) -> str:
    """Return how long all scenarios took."""
    seconds = sum(int(str(one)) for key, one in results.items() if key.startswith("seconds_of_"))
    return f"{seconds / 60:.0f} minutes"


def shown(results: Results, figure: Figure) -> str:
    """Return a figure as a cell; a goal that is missed says so."""
    value = number(results, figure.key)
    if value is None:
        return "–"
    text = said(value, unit=figure.unit)
    return text if figure.reaches(value) else f"{text} (missed)"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def ratios(results: Results) -> str:
    """Return the table of what decides."""
    rows = [
        [one.what, f"**{shown(results, one)}**", one.goal, rounds(results, one), one.limited_by]
        for one in RATIOS
    ]
    return table(["", "median", "goal", "rounds", "what limits it"], rows)


def scenario_tables(results: Results) -> str:
    """Return a table for each scenario, with its command."""
    parts = []
    for scenario in SCENARIOS.values():
        rows = [
            [one.what, shown(results, one), rounds(results, one)]
            for one in (*RATIOS, *ABSOLUTES)
            if one.scenario == scenario.name and one.key in results
        ]
        failure = results.get(f"failed_{scenario.name}")
        text = f"## {scenario.title}\n\n{COMMAND.format(scenario.command)}\n\n"
        if failure:
            text += f"**The last run failed:** {failure}. Figures below are of an earlier run.\n\n"
        parts.append(text + (table(["", "median", "rounds"], rows) if rows else "Not measured.\n"))
    return "\n".join(parts)


def markdown(results: Results) -> str:
    """Return the whole report."""
    return (
        "# Benchmark\n\n"
        f"{results.get('machine', UNKNOWN)}; {results.get('measured_at', UNKNOWN)}.\n\n"
        "What is compared took turns in each round, and a ratio is the median of the rounds' own. Ratios "
        f"decide; absolute figures are this machine's. All of it took {minutes(results)}.\n\n"
        f"{ratios(results)}\n{scenario_tables(results)}"
    )


def readme_block(results: Results) -> str:
    """Return README's table: each ratio with its command."""
    rows = [
        [
            one.what,
            f"**{shown(results, one)}**",
            one.goal,
            rounds(results, one),
            f"`--only {one.scenario}`",
            one.limited_by,
        ]
        for one in RATIOS
    ]
    return (
        f"{results.get('machine', UNKNOWN)}; all parts on the same cores, {minutes(results)} in all. The "
        "full tables are in [benchmarks/results/latest.md](benchmarks/results/latest.md).\n\n"
        + table(["", "median", "goal", "rounds", "command", "what limits it"], rows)
    )
