r"""What verbs print: tables where a person looks, plain text when piped, JSON for machines.

Most of what is shown was written by strangers: gateways, receivers, senders. None of it reaches the terminal
as it came: control characters, escape sequences and invisible direction marks are shown as `\x1b` and the
like, and rich's markup is never read from it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
import msgspec
from rich.cells import cell_len
from rich.columns import Columns
from rich.console import Console, Group
from rich.progress import Progress, ProgressColumn
from rich.table import Table
from rich.text import Text

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def examples(*commands: str) -> str:
    """Return the examples at the end of a verb's `--help`, each on its own line."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def printable(value: object) -> str:
    """Return `value` as one line of text in which every character can be seen."""
    return "".join(one if one.isprintable() else _escaped(one) for one in str(value))


def one_line(value: object, *, limit: int = 300) -> str:
    """Return `value` with white space folded, made printable and cut at `limit` characters."""
    text = printable(" ".join(str(value).split()))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def at(moment: datetime | None) -> str:
    """Return a time as people read it: UTC, to the second; `-` when there is none."""
    return "-" if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A titled table. Its cells are strangers' text: they are made printable when drawn.

    Without a title or without names of columns that line is left out. Rows whose first cell is in `alarming`
    are red where a person looks.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    alarming: Collection[object] = ()


def drawn(sections: Iterable[Section]) -> Group:
    """Return the sections as tables for a terminal; every cell is taken literally."""
    return Group(*(_table(section) for section in sections))


def beside(sections: Iterable[Section]) -> Columns:
    """Return the sections next to each other, as many in a row as the terminal is wide."""
    return Columns([_table(section) for section in sections])


def plain(sections: Iterable[Section]) -> str:
    """Return the sections as aligned text without lines and colours."""
    return "\n\n".join(_aligned(section) for section in sections)


def print_sections(sections: Iterable[Section]) -> None:
    """Print tables: drawn where a person looks, aligned text when piped."""
    if sys.stdout.isatty():
        console().print(drawn(sections))
    else:
        click.echo(plain(sections))


def print_table(*, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print one table."""
    print_sections([Section(title=title, columns=columns, rows=rows)])


def console(*, stderr: bool = False) -> Console:
    """Return a console on the stdout or stderr of this moment that takes text literally."""
    file = sys.stderr if stderr else sys.stdout
    return Console(file=file, highlight=False, markup=False, emoji=False)


def progress(*columns: ProgressColumn) -> Progress:
    """Return a bar on stderr that leaves no trace: where no person looks there is none."""
    return Progress(*columns, console=console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever msgspec can encode
    """Print JSON in UTF-8, whatever the locale says.

    Invisible characters inside its strings are written as escapes, which reads back as the same JSON.
    """
    text = msgspec.json.encode(value).decode()
    visible = "".join(one if one.isprintable() or one in "\n\r\t" else _json_escaped(one) for one in text)
    click.echo(visible.encode())


def _table(section: Section) -> Table:
    table = Table(
        title=Text(section.title) if section.title else None,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        show_header=any(section.columns),
    )
    for column in section.columns:
        table.add_column(Text(column), overflow="fold")
    for row in section.rows:
        style = "bold red" if row[0] in section.alarming else None
        table.add_row(*(Text(printable(cell)) for cell in row), style=style)
    return table


def _aligned(section: Section) -> str:
    lines = [[printable(cell) for cell in row] for row in section.rows]
    if not lines:
        lines = [["none", *[""] * (len(section.columns) - 1)]]
    elif any(section.columns):
        lines.insert(0, list(section.columns))
    widths = [max(cell_len(line[index]) for line in lines) for index in range(len(section.columns))]
    aligned = [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True))
        for line in lines
    ]
    title = [section.title] if section.title else []
    return "\n".join([*title, *(line.rstrip() for line in aligned)])


def _escaped(one: str) -> str:
    return one.encode("unicode_escape", "surrogatepass").decode("ascii")


def _json_escaped(one: str) -> str:
    return json.dumps(one)[1:-1]  # beyond U+FFFF JSON needs a pair of escapes, which json.dumps writes
