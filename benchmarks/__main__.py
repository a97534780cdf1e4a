"""Run the benchmark, as `make bench` does: `python -m benchmarks [--quick] [--rounds N] [--only NAME]…`.

Each scenario is a process of its own with a limit of its own. One that fails is named in the report and at
the end; the figures of the others are kept, and so are its own of an earlier run. `--only` repeats some and
leaves the rest as they were. In full, the results go to benchmarks/results/latest.{json,md,svg} and from
there into README and docs/capacity.md; `--quick` only shows that all of it runs, and writes
quick.{json,md,svg}. `--note TEXT` goes into the machine line: what else a reader should know of this run.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

from benchmarks.machine import machine_line
from benchmarks.plot import svg
from benchmarks.programs import ROOT
from benchmarks.publish import publish
from benchmarks.report import markdown
from benchmarks.results import FOLDER, Results, load, merged, save
from benchmarks.scenarios import SCENARIOS, Scenario
from benchmarks.sizes import FULL

QUICK_LIMIT_S = 180.0
GRACE_S = 60.0
QUICK_NOTE = "a quick run, of less than the rows say"
REASON = re.compile(r"^[\w.]+: .+", re.MULTILINE)  # the line of a traceback that names the exception
WORDS = 300  # of a failure's last words


def run(scenario: Scenario, *, quick: bool, rounds: int | None) -> tuple[dict[str, float] | None, str | None]:
    """Return a scenario's figures, or why it has none; nothing of it is left running."""
    command = [sys.executable, "-m", "benchmarks.scenarios", scenario.name]
    command += ["--quick"] if quick else []
    command += [f"--rounds={rounds}"] if rounds else []
    limit = QUICK_LIMIT_S if quick else scenario.limit_s
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", cwd=ROOT
    ) as child:
        try:
            said, complained = child.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            return None, f"it took longer than {limit:.0f} s"
        finally:
            end(child)
    if child.returncode != 0:
        sys.stderr.write(complained)
        reasons = REASON.findall(complained) or [f"it ended with status {child.returncode}"]
        return None, reasons[-1][:WORDS]
    return dict(json.loads(said.splitlines()[-1])), None


def end(child: subprocess.Popen[str]) -> None:
    """End a scenario that still runs, in order: SIGTERM is an exception there, which ends all it began."""
    child.terminate()
    try:
        child.wait(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()


def write(results: Results, *, name: str) -> None:
    """Write the results in all their forms."""
    save(results, name=name)
    kept = load(name)
    (FOLDER / f"{name}.md").write_text(markdown(kept), encoding="utf-8")
    (FOLDER / f"{name}.svg").write_text(svg(kept), encoding="utf-8")


def main() -> int:
    """Run what was chosen; return 1 when any of it failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does all of it run?")
    parser.add_argument(
        "--only", action="append", choices=SCENARIOS, help="repeat this one; may be given often"
    )
    parser.add_argument("--rounds", type=int, help=f"of everything; {FULL.rounds} in full")
    parser.add_argument("--note", default="", help="for the machine line")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    name = "quick" if chosen.quick else "latest"
    note = "; ".join(filter(None, [chosen.note, QUICK_NOTE if chosen.quick else ""]))
    failed = []
    for scenario in SCENARIOS.values():
        if chosen.only and scenario.name not in chosen.only:
            continue
        begun = time.monotonic()
        print(f"{scenario.name}: {scenario.title} …", end=" ", flush=True)
        figures, failure = run(scenario, quick=chosen.quick, rounds=chosen.rounds)
        took = round(time.monotonic() - begun)
        print(failure or "done", f"({took} s)", flush=True)
        failed += [scenario.name] if failure else []
        results = merged(load(name), scenario=scenario.name, figures=figures, failure=failure, took_s=took)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        write(results | {"machine": machine_line(note=note), "measured_at": now}, name=name)
    print(f"\n{markdown(load(name))}\nwritten to {FOLDER}/{name}.json, .md and .svg")
    if not chosen.quick and not failed:
        publish(load(name))
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
