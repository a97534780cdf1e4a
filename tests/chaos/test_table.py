from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.account import Account
from tests.chaos.programs import ROOT
from tests.chaos.table import (
    Report,
    Row,
    as_json,
    as_markdown,
    as_text,
    from_json,
    merged,
    put_in,
    row,
    with_table,
)


def made(
    *,
    tasks: int = 10,
    lost: tuple[str, ...] = (),
    wrong: tuple[str, ...] = (),
    recoveries: tuple[float, ...] = (1.0,),
) -> Row:
    """Return a row about ten tasks."""
    account = Account(tasks=tasks, duplicates=2, lost=lost, wrong=wrong)
    return row(account, name="kill", fault="SIGKILL", database="sqlite", recoveries=recoveries, note="a note")


@pytest.mark.parametrize(
    ("one", "failed"),
    [
        (made(), False),
        (made(lost=("t: gone",)), True),
        (made(wrong=("t: twice",)), True),
        (made(recoveries=()), True),
        (made(tasks=0), True),
    ],
    ids=["good", "lost", "wrong", "no round", "no task"],
)
def test_a_row_fails_with_a_loss_a_wrong_or_nothing_done(one: Row, failed: bool) -> None:
    """A fault that was never tried, or at which nothing was owed, has proved nothing; that is told."""
    assert one.failed is failed
    assert bool(as_text([one]).splitlines()[3:]) is failed


def test_what_was_lost_is_told_below_the_table() -> None:
    """The table counts, the lines below it name."""
    text = as_text([made(lost=("t: gone",), recoveries=(1.0, 3.0))])

    assert " ".join(text.splitlines()[1].split()) == "SIGKILL sqlite 2 10 1 2 0 2.0 s 3.0 s"
    assert text.splitlines()[2:] == ["a note", "SIGKILL on sqlite: lost: t: gone"]


def test_rows_of_several_installations_add_up() -> None:
    """Counts are added, and nothing of what was lost is forgotten."""
    both = merged([made(lost=("t: gone",)), made(wrong=("u: twice",), recoveries=(2.0, 3.0))])

    assert (both.rounds, both.tasks, both.duplicates) == (3, 20, 4)
    assert (both.lost, both.wrong, both.recoveries) == (("t: gone",), ("u: twice",), (1.0, 2.0, 3.0))


def test_a_report_survives_its_file() -> None:
    """README's table is made from what was kept."""
    report = Report(seed=7, form="long", seconds=1.5, rows=(made(lost=("t: gone",)),))

    assert from_json(as_json(report)) == report
    lines = as_markdown(report).splitlines()
    assert lines[0] == "The long form, seed 7, 0 minutes. a note."
    assert lines[4] == (
        "| SIGKILL | sqlite | 1 | 10 | 1 | 2 | 0 | 1.0 s | 1.0 s | `python -m tests.chaos --only kill` |"
    )
    assert lines[6] == "- SIGKILL on sqlite: lost: t: gone"


def test_a_fault_that_is_done_again_takes_its_old_place() -> None:
    """The others of the run that is kept stay, and the time of both is told."""
    kill, beat = made(), made(lost=("t: gone",))
    kept = Report(seed=1, form="long", seconds=60.0, rows=(kill, replace(beat, name="beat")))
    new = Report(seed=2, form="long", seconds=30.0, rows=(replace(beat, name="beat", lost=()),))

    both = put_in(kept, new, order=["beat", "kill"])

    assert [(one.name, one.lost) for one in both.rows] == [("beat", ()), ("kill", ())]
    assert (both.seed, both.seconds) == (2, 90.0)


def test_readme_has_the_table_of_the_run_that_is_kept() -> None:
    """What README says was lost is what a run has counted."""
    kept = Path(__file__).with_name("survival.json")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert with_table(readme, from_json(kept.read_bytes())) == readme
