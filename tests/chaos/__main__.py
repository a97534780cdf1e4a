"""Do the worst, count, and print one table: `python -m tests.chaos [--only FAULT] [--database DATABASE] …`.

    python -m tests.chaos --only kill --rounds 20 --seed 7

The two databases run beside each other, each in a process of its own with its own servers; in the short
form, so do the faults. Exit 1 when anything was lost, came twice without an excuse, or came wrong; the lines
below the table say what.
"""

from __future__ import annotations

import argparse
import secrets
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.chaos.faults import FAULTS
from tests.chaos.plan import Fault, Plan
from tests.chaos.programs import ROOT
from tests.chaos.table import Report, Row, as_json, as_text, from_json, put_in, with_table
from tests.chaos.world import open_world

DATABASES = ("sqlite", "postgresql")
SIDE_BY_SIDE = 3  # processes; each has servers and programs of its own and waits most of its time
READMES = (ROOT / "README.md", ROOT / "README.zh-CN.md")


def main() -> int:
    """Run what is asked for."""
    options = read_options()
    began = time.monotonic()
    rows = here(options) if len(options.database) == 1 else beside_each_other(options)
    report = Report(
        seed=options.seed,
        form="short" if options.short else "long",
        seconds=round(time.monotonic() - began, 1),
        rows=tuple(rows),
    )
    if options.json is not None:
        report = with_kept(report, options.json) if options.keep_others else report
        options.json.write_bytes(as_json(report))
    if options.readme:
        for readme in READMES:
            readme.write_text(with_table(readme.read_text(encoding="utf-8"), report), encoding="utf-8")
    if not options.quiet:
        print(f"{report.form} form, seed {report.seed}, {report.seconds:.0f} s")  # noqa: T201 - its purpose
        print(as_text(report.rows))  # noqa: T201 - its purpose
    return 1 if not rows or any(row.failed for row in rows) else 0


def with_kept(report: Report, file: Path) -> Report:
    """Return the run with the other faults of the one that is kept, if that is of the same form."""
    kept = from_json(file.read_bytes()) if file.exists() else report
    return put_in(kept, report, order=list(FAULTS)) if kept.form == report.form and kept != report else report


def read_options() -> argparse.Namespace:
    """Read the command line."""
    lines = "\n".join(f"  {name:<10} {fault.meaning}" for name, fault in FAULTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__.splitlines()[0] if __doc__ else None,
        epilog=f"faults:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--only", action="append", choices=list(FAULTS), metavar="FAULT", help="may be repeated"
    )
    parser.add_argument("--database", action="append", choices=DATABASES, help="both, if not given")
    parser.add_argument("--rounds", type=int, help="of each fault, instead of its own number")
    parser.add_argument("--minutes", type=float, help="for each fault, instead of its own limit")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of all chance")
    parser.add_argument("--short", action="store_true", help="the form that is part of the tests")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    parser.add_argument("--keep-others", action="store_true", help="of the faults that FILE has already")
    parser.add_argument("--readme", action="store_true", help="put the table into both READMEs")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep databases and logs in a new folder")
    parser.add_argument("--quiet", action="store_true", help="print no table")
    options = parser.parse_args()
    options.only = options.only or list(FAULTS)
    options.database = options.database or list(DATABASES)
    return options


def here(options: argparse.Namespace) -> Sequence[Row]:
    """Run the faults on one database, one after the other."""
    (database,) = options.database
    rows: list[Row] = []
    for name in options.only:
        fault = FAULTS[name]
        if database in fault.databases and (fault.short_rounds or not options.short):
            keep = None if options.keep is None else options.keep / database / name
            if keep is not None:
                keep.mkdir(parents=True)
            with open_world(database, keep=keep) as world:
                rows += fault.run(world, plan_of(fault, options))
    return rows


def plan_of(fault: Fault, options: argparse.Namespace) -> Plan:
    """Return how much of a fault to do."""
    rounds = options.rounds or (fault.short_rounds if options.short else fault.rounds)
    minutes = options.minutes or fault.minutes
    return Plan(seed=options.seed, rounds=rounds, end=time.monotonic() + 60 * minutes, short=options.short)


def beside_each_other(options: argparse.Namespace) -> Sequence[Row]:
    """Run the jobs in processes of their own and put their rows together, fault by fault."""
    with TemporaryDirectory() as folder, ThreadPoolExecutor(max_workers=SIDE_BY_SIDE) as pool:
        given = {Path(folder) / f"{number}.json": job for number, job in enumerate(jobs(options))}
        commands = [
            [sys.executable, "-m", "tests.chaos", *arguments(options, *job, file)]
            for file, job in given.items()
        ]
        list(pool.map(lambda command: subprocess.run(command, check=False), commands))
        for file, (database, faults) in given.items():
            if not file.exists():
                sys.exit(f"{', '.join(faults)} on {database}: ended without a report")
        rows = [row for file in given for row in from_json(file.read_bytes()).rows]
    order = list(dict.fromkeys(row.fault for row in rows))
    return sorted(rows, key=lambda row: order.index(row.fault))


def jobs(options: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """Return what one process does: all faults on a database; in the short form, which waits a lot, one."""
    if not options.short:
        return [(database, options.only) for database in options.database]
    return [
        (database, [name])
        for name in options.only
        for database in options.database
        if database in FAULTS[name].databases and FAULTS[name].short_rounds
    ]


def arguments(options: argparse.Namespace, database: str, faults: list[str], file: Path) -> list[str]:
    """Return the command line of the process for one job."""
    given = [part for name in faults for part in ("--only", name)]
    for name in ("rounds", "minutes"):
        value = getattr(options, name)
        given += [] if value is None else [f"--{name}", str(value)]
    given += ["--short"] if options.short else []
    given += [] if options.keep is None else ["--keep", str(options.keep)]
    return [*given, "--database", database, "--seed", str(options.seed), "--json", str(file), "--quiet"]


if __name__ == "__main__":
    sys.exit(main())
