"""The one table: what each fault cost, as text for people, as JSON, and as README shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from tests.chaos.account import Account

# README's table stands between these.
BEGIN, END = "<!-- made by `make chaos` -->\n", "<!-- end -->"

HEAD = ("fault", "database", "rounds", "tasks", "lost", "duplicates", "wrong", "recovery p50", "max")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One fault on one database. `recoveries`: seconds from each round's fault until all was delivered again.

    `name` is what `--only` knows it by, several rows may share one; `fault` is what a reader is told. `lost`
    and `wrong` hold a line for each, and both have to be empty; `note` is what a reader must know, such as
    that leases were not waited for.
    """

    name: str
    fault: str
    database: str
    rounds: int
    tasks: int
    duplicates: int
    lost: tuple[str, ...]
    wrong: tuple[str, ...]
    recoveries: tuple[float, ...]
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether a promise was broken, or nothing was done that could have broken one."""
        return bool(self.lost or self.wrong or not self.rounds or not self.tasks)


def row(
    account: Account,
    *,
    name: str,
    fault: str,
    database: str,
    recoveries: Sequence[float],
    also_wrong: Sequence[str] = (),
    note: str = "",
) -> Row:
    """Make the row of an account; each round has a recovery."""
    return Row(
        name=name,
        fault=fault,
        database=database,
        rounds=len(recoveries),
        tasks=account.tasks,
        duplicates=account.duplicates,
        lost=account.lost,
        wrong=(*account.wrong, *also_wrong),
        recoveries=tuple(recoveries),
        note=note,
    )


def merged(rows: Sequence[Row]) -> Row:
    """Add up rows of one fault on one database."""
    first = rows[0]
    assert {(one.fault, one.database) for one in rows} == {(first.fault, first.database)}
    return Row(
        name=first.name,
        fault=first.fault,
        database=first.database,
        rounds=sum(one.rounds for one in rows),
        tasks=sum(one.tasks for one in rows),
        duplicates=sum(one.duplicates for one in rows),
        lost=tuple(line for one in rows for line in one.lost),
        wrong=tuple(line for one in rows for line in one.wrong),
        recoveries=tuple(seconds for one in rows for seconds in one.recoveries),
        note=first.note,
    )


def cells(one: Row) -> tuple[str, ...]:
    """Return a row's cells, one for each word of `HEAD`."""
    recoveries = one.recoveries
    return (
        one.fault,
        one.database,
        str(one.rounds),
        str(one.tasks),
        str(len(one.lost)),
        str(one.duplicates),
        str(len(one.wrong)),
        f"{median(recoveries):.1f} s" if recoveries else "–",
        f"{max(recoveries):.1f} s" if recoveries else "–",
    )


def as_text(rows: Sequence[Row]) -> str:
    """Write the table in columns; below it what is to be complained of."""
    lines = [HEAD, *(cells(one) for one in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    notes = [f"{note}" for note in dict.fromkeys(one.note for one in rows) if note]
    return "\n".join([line.rstrip() for line in table] + notes + complaints(rows))


def complaints(rows: Sequence[Row]) -> list[str]:
    """Return a line for each loss and each wrong, and for each row that proves nothing."""
    return [
        f"{one.fault} on {one.database}: {what}"
        for one in rows
        for what in (
            *(f"lost: {line}" for line in one.lost),
            *(f"wrong: {line}" for line in one.wrong),
            *(["proves nothing"] if not one.rounds or not one.tasks else []),
        )
    ]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run, as it is kept."""

    seed: int
    form: str
    seconds: float
    rows: tuple[Row, ...]


def as_json(report: Report) -> bytes:
    """Write a run."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1)


def from_json(text: bytes) -> Report:
    """Read a run."""
    return msgspec.json.decode(text, type=Report)


def as_markdown(report: Report) -> str:
    """Write the table as README shows it, each row with the command that does it again."""
    head = (*HEAD, "again with")
    rows = [(*cells(one), f"`python -m tests.chaos --only {one.name}`") for one in report.rows]
    lines = [head, tuple("---" for _ in head), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = " ".join(f"{note}." for note in dict.fromkeys(one.note for one in report.rows) if note)
    caption = (
        f"The {report.form} form, seed {report.seed}, {report.seconds / 60:.0f} minutes. {notes}".strip()
    )
    told = "".join(f"\n- {line}" for line in complaints(report.rows))
    return f"{caption}\n\n{table}\n" + (f"{told}\n" if told else "")


def with_table(readme: str, report: Report) -> str:
    """Return README with the table of this run."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{as_markdown(report)}{END}{after}"


def put_in(kept: Report, new: Report, *, order: Sequence[str]) -> Report:
    """Return the kept run with the faults of a new one of the same form in place of its own."""
    renewed = {one.name for one in new.rows}
    rows = (*(one for one in kept.rows if one.name not in renewed), *new.rows)
    return Report(
        seed=new.seed,
        form=new.form,
        seconds=round(kept.seconds + new.seconds, 1),
        rows=tuple(sorted(rows, key=lambda one: order.index(one.name))),
    )
