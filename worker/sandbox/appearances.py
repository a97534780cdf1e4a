"""How a task appears in an answer: as it stands, or as a fault wants it to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

from worker.sandbox.faults import Fault, FaultKind
from worker.sandbox.songs import SimulatedTask, Stage, Standing

_NEVER_DONE = 99
_AT_ITS_SUBMIT = Standing(stage=Stage.SUBMITTED, progress=0, started_at=None, finished_at=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """One item of an answer, before a dialect gives it its shape.

    `word` stands where the dialect's own status word would; `nonsense` keeps the id and spoils the rest.
    """

    task: SimulatedTask
    standing: Standing
    fail_reason: str
    word: str | None = None
    nonsense: bool = False

    @classmethod
    def of(cls, task: SimulatedTask, *, at: datetime) -> Self:
        """Return the truth."""
        standing = task.at(at)
        return cls(
            task=task,
            standing=standing,
            fail_reason=task.fail_reason if standing.stage is Stage.FAILURE else "",
        )


def seen_through(fault: Fault | None, items: Sequence[Appearance]) -> list[Appearance]:
    """Return the items as the fault lets them be seen, in its order; an item may be gone."""
    if fault is None:
        return list(items)
    shown = [
        one
        for item in items
        for one in ([item] if not fault.names(item.task.task_id) else _disguised(item, fault=fault))
    ]
    match fault.kind:
        case FaultKind.CAP:
            return shown[: fault.rows]
        case FaultKind.REORDER:
            return shown[::-1]
        case FaultKind.DUPLICATES:
            return [*shown, *(replace(item, standing=_AT_ITS_SUBMIT, fail_reason="") for item in shown)]
        case FaultKind.STRANGERS:
            return [*(_stranger(item) for item in shown[:1]), *shown]
        case _:
            return shown


def _disguised(item: Appearance, *, fault: Fault) -> list[Appearance]:
    standing = item.standing
    match fault.kind:
        case FaultKind.MISSING:
            return []
        case FaultKind.MALFORMED:
            return [replace(item, nonsense=True)]
        case FaultKind.WORD:
            return [replace(item, word=fault.word)]
        case FaultKind.BACKWARDS:
            return [replace(item, standing=_AT_ITS_SUBMIT, fail_reason="")]
        case FaultKind.STUCK:
            stuck = replace(standing, stage=Stage.IN_PROGRESS, progress=100, finished_at=None)
            return [replace(item, standing=stuck, fail_reason=fault.fail_reason)]
        case FaultKind.ENDLESS if standing.ended:
            going_on = replace(standing, stage=Stage.IN_PROGRESS, progress=_NEVER_DONE, finished_at=None)
            return [replace(item, standing=going_on, fail_reason="")]
        case _:
            return [item]


def _stranger(item: Appearance) -> Appearance:
    return replace(item, task=replace(item.task, task_id=f"stranger-to-{item.task.task_id}"))
