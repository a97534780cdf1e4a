from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.sandbox.moment import MORNING
from worker.sandbox import bodies
from worker.sandbox.appearances import Appearance, seen_through
from worker.sandbox.dialects import Dialect
from worker.sandbox.faults import ABOUT_ITEMS, Fault, FaultKind
from worker.sandbox.songs import SimulatedTask, Stage

ABOUT_LISTS = {FaultKind.CAP, FaultKind.REORDER, FaultKind.DUPLICATES, FaultKind.STRANGERS}
WORD = Fault(kind=FaultKind.WORD, word="DREAMING")


def task(task_id: str = "t", *, action: str = "MUSIC") -> SimulatedTask:
    """Return a task that lasts 8 s from the morning on."""
    return SimulatedTask(task_id=task_id, action=action, submitted_at=MORNING, lasts=timedelta(seconds=8))


def at_its_end(one: SimulatedTask) -> Appearance:
    """Return how a task really looks after 9 s."""
    return Appearance.of(one, at=MORNING + timedelta(seconds=9))


def data(body: bodies.Body) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Return what an answer holds as `data`."""
    return json.loads(body.content)["data"]


@pytest.mark.parametrize(
    ("action", "dialect", "words"),
    [
        ("MUSIC", Dialect.NEW_API, ["DREAMING"]),
        ("MUSIC", Dialect.GOAMZ, ["DREAMING"]),
        ("MUSIC", Dialect.SUNO_API, ["DREAMING", "DREAMING"]),
        ("LYRICS", Dialect.SUNO_API, ["DREAMING"]),
    ],
)
def test_a_word_stands_where_the_dialect_has_its_own(action: str, dialect: Dialect, words: list[str]) -> None:
    """An unknown word is the status of the task, of its clips, or of its lyrics."""
    (item,) = seen_through(WORD, [at_its_end(task(action=action))])
    shown = data(bodies.single(item, dialect=dialect))

    assert [one["status"] for one in (shown if isinstance(shown, list) else [shown])] == words


@pytest.mark.parametrize("dialect", [Dialect.NEW_API, Dialect.GOAMZ])
def test_a_stuck_task_gives_its_reason(dialect: Dialect) -> None:
    """The stuck state has an error text and no end, in New-API's words and in GoAmz's."""
    fault = Fault(kind=FaultKind.STUCK, fail_reason="no channel")
    (item,) = seen_through(
        fault, [at_its_end(replace(task(), outcome=Stage.FAILURE, fail_reason="moderated"))]
    )
    shown = data(bodies.single(item, dialect=dialect))

    assert (shown["status"], shown.get("fail_reason", shown.get("error"))) in [
        ("IN_PROGRESS", "no channel"),
        ("processing", "no channel"),
    ]
    assert item.standing.progress == 100
    assert item.standing.finished_at is None


def test_exact_data_is_hidden_by_a_word() -> None:
    """A task with a text of its own still shows the unknown word."""
    (item,) = seen_through(WORD, [at_its_end(replace(task(), data='{"status": "completed"}'))])

    assert data(bodies.single(item, dialect=Dialect.GOAMZ))["status"] == "DREAMING"


@pytest.mark.parametrize("kind", sorted(ABOUT_ITEMS - ABOUT_LISTS))
def test_only_the_named_tasks_are_disguised(kind: FaultKind) -> None:
    """A fault about one task leaves the item of another as it is."""
    items = [at_its_end(task("a")), at_its_end(task("b"))]
    shown = seen_through(Fault(kind=kind, task_ids=("a",)), items)

    assert items[1] in shown
    assert shown != items


def test_a_running_task_need_not_be_made_endless() -> None:
    """Before its end a task that never ends looks like any other."""
    item = Appearance.of(task(), at=MORNING + timedelta(seconds=4))

    assert seen_through(Fault(kind=FaultKind.ENDLESS), [item]) == [item]


def test_lists_are_changed_as_a_whole() -> None:
    """Cap, order, duplicates and strangers are about the list, whatever its items are."""
    items = [at_its_end(task(name)) for name in "abc"]
    seen = {
        kind: [
            (item.task.task_id, item.standing.stage.value)
            for item in seen_through(Fault(kind=kind, rows=2) if kind == "cap" else Fault(kind=kind), items)
        ]
        for kind in ABOUT_LISTS
    }
    true = [(name, "SUCCESS") for name in "abc"]

    assert seen == {
        "cap": true[:2],
        "reorder": true[::-1],
        "duplicates": true + [(name, "SUBMITTED") for name in "abc"],
        "strangers": [("stranger-to-a", "SUCCESS"), *true],
    }
    assert seen_through(Fault(kind=FaultKind.STRANGERS), []) == []
