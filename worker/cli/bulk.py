"""`enqueue --file`: many requests, 500 lines in a transaction, with a bar where a person looks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import DBAPIError

from worker.cli.failures import explain_database
from worker.cli.lines import Line, read_lines
from worker.cli.terminal import one_line, print_json, progress
from worker.db.session import Sessions
from worker.intake import Enqueued, put_under_watch
from worker.request import Policy, Refused, Request

LINES_PER_TRANSACTION = 500


@dataclass(slots=True)
class Tally:
    """What became of the lines so far."""

    created: int = 0
    known: int = 0
    refused: int = 0


def enqueue_lines(sessions: Sessions, *, stream: BinaryIO, policy: Policy, as_json: bool) -> None:
    """Take all lines of `stream` that can be taken; name the others on stderr and end with exit code 1."""
    tally = Tally()
    columns = (TextColumn("lines read"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with progress(*columns) as shown:
        bar = shown.add_task("", total=_size(stream))
        for lines in _grouped(read_lines(stream)):
            for number, reason in _take(sessions, lines=lines, policy=policy, tally=tally):
                shown.console.print(f"line {number}: {reason}", soft_wrap=True)
            shown.update(bar, completed=lines[-1].end)
    if as_json:
        print_json(tally)
    else:
        click.echo(f"{tally.created} now watched, {tally.known} watched already, {tally.refused} refused")
    if tally.refused:
        them = "1 line was refused: correct it and send it"
        if tally.refused > 1:
            them = f"{tally.refused} lines were refused: correct them and send them"
        raise click.ClickException(f"{them} again")


def _take(
    sessions: Sessions, *, lines: Sequence[Line], policy: Policy, tally: Tally
) -> Iterator[tuple[int, str]]:
    """Write one group in one transaction; yield number and reason of each line that was refused."""
    requests = [line.request for line in lines if isinstance(line.request, Request)]
    try:
        with sessions.begin() as session:
            taken = iter(put_under_watch(session, requests=requests, policy=policy))
    except DBAPIError as error:
        raise click.ClickException(
            f"stopped at line {lines[0].number}; all lines before it are done, and sending them again changes"
            f" nothing: {explain_database(error)}"
        ) from error
    for line in lines:
        match line.request if isinstance(line.request, str) else next(taken):
            case Enqueued(created=True):
                tally.created += 1
            case Enqueued():
                tally.known += 1
            case Refused() as refusal:
                tally.refused += 1
                yield line.number, one_line(refusal, limit=1000)
            case str() as reason:
                tally.refused += 1
                yield line.number, reason


def _grouped(lines: Iterable[Line]) -> Iterator[list[Line]]:
    remaining = iter(lines)
    while group := list(islice(remaining, LINES_PER_TRANSACTION)):
        yield group


def _size(stream: BinaryIO) -> int | None:
    """Return the bytes of a regular file; None for a pipe, whose end nobody knows."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
