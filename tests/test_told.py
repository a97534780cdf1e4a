"""Log lines tell events with facts, and docs/logs.md lists every one of them."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from worker.core.wire import Trouble
from worker.logs import LineFormatter
from worker.told import Fact, told

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs/logs.md").read_text(encoding="utf-8")
EVERY_LINE = ("at", "level", "logger", "celery_task", "celery_id", "message", "exception")
SECRET = "sk-0123456789"
WHERE = ("gateway", "action", "batch")  # what `**where` stands for in worker/answer_lines.py


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield every call in the package, with its module."""
    for file in sorted((ROOT / "worker").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield str(file.relative_to(ROOT)), node


def events() -> dict[str, set[str]]:
    """Return the facts of every event that the code tells."""
    found: dict[str, set[str]] = {}
    for module, call in calls():
        if not (isinstance(call.func, ast.Name) and call.func.id == "told"):
            continue
        name = call.args[0]
        assert isinstance(name, ast.Constant), f"{module}: an event's name is fixed"
        facts = found.setdefault(str(name.value), set())
        for keyword in call.keywords:
            facts.update(WHERE if keyword.arg is None else [keyword.arg])
    return found


def test_the_document_lists_every_event() -> None:
    """Names and fields are those of the code."""
    rows = re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|", DOCUMENT, re.MULTILINE)

    assert {name: set(re.findall(r"\w+", fields)) for name, fields in rows} == events()


def test_the_document_lists_the_fields_of_every_line() -> None:
    """No fact of an event has the name of one of them."""
    (table,) = re.findall(r"^\| field \| what \|\n\|[- |]+\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)

    assert tuple(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == EVERY_LINE
    assert not set().union(*events().values()) & {*EVERY_LINE, "event"}


def test_a_task_id_is_always_a_field() -> None:
    """No log line has a `task_id` only in its text."""
    for module, call in calls():
        if not (isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "logger"):
            continue
        texts = [node.value for node in ast.walk(call) if isinstance(node, ast.Constant)]
        assert not [text for text in texts if "task_id=" in str(text)], f"{module}:{call.lineno}"


def written(*, as_json: bool, **facts: Fact) -> str:
    """Return what is written of an event with these facts."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(as_json=as_json, secrets=[SECRET]))
    record = logging.LogRecord("here", logging.INFO, "", 0, told("event", "so it is", **facts), None, None)
    handler.emit(record)
    return stream.getvalue().rstrip("\n")


@pytest.mark.parametrize(
    ("value", "text", "field"),
    [
        (7, "7", 7),
        (True, "True", True),
        ("msg_1", "msg_1", "msg_1"),
        ("https://h.example:443", "https://h.example:443", "https://h.example:443"),
        (Trouble.TIMEOUT, "timeout", "timeout"),
        (datetime(2026, 11, 21, 12, tzinfo=UTC), "2026-11-21T12:00:00+00:00", "2026-11-21T12:00:00+00:00"),
        ("two words", "'two words'", "two words"),
        ("a=b", "'a=b'", "a=b"),
        ("", "''", ""),
        ("a\nb\x1b[2J", r"'a\nb\x1b[2J'", "a\nb\x1b[2J"),
        ("日本", r"'\u65e5\u672c'", "日本"),
        (f"key {SECRET}", "'key ***'", "key ***"),
    ],
    ids=[
        *("number", "truth", "word", "origin", "enum", "time", "words", "a false fact", "nothing"),
        *("control characters", "not ASCII", "secret"),
    ],
)
def test_a_fact_is_text_and_field(value: Fact, text: str, field: object) -> None:
    """On the console quoted where it could be mistaken; in JSON as it is, secrets masked."""
    assert written(as_json=False, what=value).endswith(f" here what={text} so it is")
    line = json.loads(written(as_json=True, what=value))
    assert (line["what"], line["event"]) == (field, "event")
    assert line["message"] == f"what={text} so it is"


def test_a_task_id_is_always_quoted() -> None:
    """Whoever searches the console's lines for one knows how it is written."""
    assert " task_id='plain' so it is" in written(as_json=False, task_id="plain")


def test_what_is_not_known_is_left_out() -> None:
    """None is no fact."""
    assert "what" not in written(as_json=False, what=None)
    assert "what" not in json.loads(written(as_json=True, what=None))
