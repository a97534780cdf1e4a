"""The results as a picture: bars on a logarithmic scale, in plain SVG that needs no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.figures import said
from benchmarks.report import number
from benchmarks.results import Results

WIDTH, LEFT, BAR, STEP, HEAD = 760, 300, 16, 22, 44
LONGEST = WIDTH - LEFT - 90
OURS, THEIRS = "#1f6feb", "#8c959f"

# (title, unit, bars as (key, name)); ours are blue.
PANELS: Sequence[tuple[str, str, Sequence[tuple[str, str]]]] = (
    (
        "Worker CPU for a task, enqueue to webhook (less is better)",
        "ms",
        (
            ("end_to_end_ours_worker_ms", "ours"),
            ("end_to_end_bare_worker_ms", "one bare POST, httpx over aiohttp"),
            ("end_to_end_threads_worker_ms", "afternoon script, 64 threads"),
            ("end_to_end_prefork_worker_ms", "afternoon script, prefork 8"),
        ),
    ),
    (
        "Deliveries a second from a full outbox (more is better)",
        "",
        (
            ("peers_ours_rate", "ours"),
            ("peers_webhook_tuned_rate", "django-webhook, kept connections"),
            ("peers_webhook_rate", "django-webhook, as documented"),
            ("peers_outbound_rate", "django-outbound-webhooks, 4 relays"),
        ),
    ),
    (
        "CPU of a poll that finds nothing new (less is better)",
        "µs",
        (
            ("sweep_us_per_task_1e4", "ours, 10,000 pending"),
            ("sweep_us_per_task_1e5", "ours, 100,000 pending"),
            ("sweep_us_per_task_1e6", "ours, 1,000,000 pending"),
            ("sweep_us_per_task_get", "one GET by the bare client"),
        ),
    ),
)


def svg(results: Results) -> str:
    """Return the picture of what was measured."""
    parts: list[str] = []
    top = 0
    for title, unit, bars in PANELS:
        known = [(name, value) for key, name in bars if (value := number(results, key))]
        if known:
            parts.append(panel(title, unit=unit, bars=known, top=top))
            top += HEAD + STEP * len(known)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + 16}" '
    style = 'font-family="system-ui, sans-serif" font-size="12"'
    return f'{head}{style}>\n<rect width="100%" height="100%" fill="white"/>\n{"".join(parts)}</svg>\n'


def panel(title: str, *, unit: str, bars: Sequence[tuple[str, float]], top: int) -> str:
    """Return one group of bars; each factor of ten is equally long."""
    least = 10 ** math.floor(math.log10(min(value for _, value in bars)) - 0.3)
    most = max(value for _, value in bars)
    text = f'<text x="12" y="{top + 28}" font-weight="bold">{escape(title)}, logarithmic</text>\n'
    for row, (name, value) in enumerate(bars):
        y = top + HEAD + STEP * row
        length = LONGEST * math.log(value / least) / math.log(most / least)
        colour = OURS if name.startswith("ours") else THEIRS
        text += (
            f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{length:.0f}" height="{BAR}" fill="{colour}"/>'
            f'<text x="{LEFT + length + 6:.0f}" y="{y + 12}">{escape(said(value, unit=unit))}</text>\n'
        )
    return text
