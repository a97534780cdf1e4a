"""What a Markdown page of this project shows: code blocks, commands, tables, links."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from worker.cli import main

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page; `path` is relative to the repository."""

    path: str
    text: str

    @classmethod
    def read(cls, path: str) -> Page:
        """Read it from the repository."""
        return cls(path=path, text=(ROOT / path).read_text(encoding="utf-8"))

    def blocks(self, language: str) -> list[str]:
        """Return the code blocks of one language."""
        return re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)

    def block(self, language: str, *, holding: str) -> str:
        """Return the one code block of a language that holds a text."""
        (found,) = [one for one in self.blocks(language) if holding in one]
        return found

    def commands(self, program: str) -> list[list[str]]:
        """Return the words of each call of a program that is shown, at a prompt or in a sentence."""
        lines = re.findall(r"(?:`|\$\()((?:suno-worker|celery|make) [^`\n)]+)[`)]", self.text)
        for text in self.blocks("console"):
            lines += re.findall(r"^\$ ((?:[^\\\n]|\\[\s\S])+)", text, re.MULTILINE)
        calls = [shlex.split(line.replace("\\\n", ""), comments=True) for line in dict.fromkeys(lines)]
        return [words for words in calls if words[0] == program]

    def table(self, *, first: str) -> list[list[str]]:
        """Return the cells of the table whose first column has this head."""
        (found,) = re.findall(
            rf"^\| {re.escape(first)} \|.*\n\|[- |]+\|\n((?:\|.*\n)+)", self.text, re.MULTILINE
        )
        return [[cell.strip() for cell in row.strip("|").split(" |")] for row in found.splitlines()]

    def links(self) -> list[str]:
        """Return the targets of the links into the repository, without their anchors."""
        found = re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", self.text)
        return list(dict.fromkeys(found))


def check_usage(words: list[str], *, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """See that a call of `suno-worker` is a verb with such options; it exits where the usage is wrong."""
    monkeypatch.chdir(folder)
    (folder / "TASKS.jsonl").touch()
    command: click.Command = main
    context = click.Context(main)
    arguments = words[1:]
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments[0])
        assert found is not None
        command, arguments = found, arguments[1:]
    with command.make_context(shlex.join(words), arguments) as parsed:
        assert parsed.command is command
