"""The scenarios by name, and one of them in a process of its own.

`python -m benchmarks.scenarios NAME [--quick] [--rounds N]` prints its figures as JSON, with the number of
`rounds` that it made of each. Whatever it started ends with it; SIGTERM ends both in order, also where
SIGINT is ignored, as in a script's background.
"""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from dataclasses import dataclass, replace

from benchmarks.sizes import FULL, QUICK


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is measured, where its function is, and when it has taken too long in full."""

    name: str
    title: str
    function: str
    limit_s: float

    @property
    def command(self) -> str:
        """How to repeat it alone."""
        return f"python -m benchmarks --only {self.name}"


SCENARIOS = {
    one.name: one
    for one in (
        Scenario(
            name="end_to_end",
            title="End to end, beside the afternoon script",
            function="benchmarks.end_to_end:run",
            limit_s=900,
        ),
        Scenario(
            name="peers",
            title="Deliveries, beside two Django packages",
            function="benchmarks.peer_rates:run",
            limit_s=600,
        ),
        Scenario(
            name="delivery",
            title="One delivery, beside a bare POST",
            function="benchmarks.outbox:cost",
            limit_s=240,
        ),
        Scenario(
            name="sweep",
            title="A poll that finds nothing new",
            function="benchmarks.sweep_costs:run",
            limit_s=600,
        ),
        Scenario(name="latency", title="Latency", function="benchmarks.latency:run", limit_s=420),
        Scenario(name="slow", title="Slow receivers", function="benchmarks.slow:run", limit_s=900),
        Scenario(
            name="scale", title="More worker processes", function="benchmarks.outbox:scale", limit_s=600
        ),
        Scenario(name="idle", title="Nothing to do", function="benchmarks.idle:idle", limit_s=300),
        Scenario(name="busy", title="Memory at work", function="benchmarks.busy:busy", limit_s=300),
        Scenario(name="enqueue", title="Enqueue a file", function="benchmarks.enqueue:run", limit_s=180),
    )
}


def main() -> None:
    """Run one scenario."""
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=SCENARIOS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int)
    chosen = parser.parse_args()
    sizes = QUICK if chosen.quick else FULL
    module, function = SCENARIOS[chosen.name].function.split(":")
    run = getattr(importlib.import_module(module), function)
    print(json.dumps(run(replace(sizes, rounds=chosen.rounds or sizes.rounds))))


if __name__ == "__main__":
    main()
