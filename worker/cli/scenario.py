"""The option `--scenario` of `sandbox gateway`: reads the file, and prints what will go wrong."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from worker.cli.terminal import one_line, printable
from worker.sandbox.faults import Fault
from worker.sandbox.scenario import BadScenario, Scenario, read_scenario


def chosen_scenario(path: Path) -> Scenario:
    """Read the file; whatever is wrong with it is a wrong usage, said before anything is started."""
    name = printable(path)
    try:
        return read_scenario(path)
    except OSError as error:
        raise click.BadParameter(f"{name}: {error.strerror}", param_hint="--scenario") from error
    except BadScenario as error:
        problems = "\n".join(f"  {one_line(problem, limit=1000)}" for problem in str(error).splitlines())
        raise click.BadParameter(f"{name}:\n{problems}", param_hint="--scenario") from error


def announce(scenario: Scenario) -> None:
    """Print the scenario's title and each fault with the keys that were set."""
    click.echo(f"Scenario: {one_line(scenario.title) or 'without a title'}")
    for number, fault in enumerate(scenario.faults, start=1):
        chosen = [
            f"{field}={one_line(value, limit=60)}"
            for field, value in msgspec.structs.asdict(fault).items()
            if field != "kind" and value != getattr(Fault(kind=fault.kind), field)
        ]
        click.echo(f"  {number}. {' '.join([fault.kind, *chosen])}")
    click.echo()
