"""A mixture of all that tasks and receivers do, enqueued without end.

Each task has a *fate*, drawn from a seed, that says what the gateway and the receiver make of it, and so how
its delivery has to stand in the end. Two fates share a receiver each that goes through bad times as a whole:
one hangs, one vanishes; the others are paths of one steady receiver.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from kombu.exceptions import KombuError
from sqlalchemy.exc import SQLAlchemyError

from tests.chaos.entries import DELIVERED, Arrival, Expected
from tests.chaos.outages import watch
from tests.chaos.receiver import Answer
from tests.chaos.site import Site
from worker.sandbox.songs import Stage

EVERY_S = 0.1  # between two tasks
LONGEST_SONG_S = 3.0
MOST_REFUSALS = 3
MOST_UNKNOWN = 20  # a 404 is tried again for 71 minutes, so these stay to the end
HANGS_FOR_S = 4.0  # longer than a worker waits


class Fate(StrEnum):
    """What becomes of a task."""

    TAKEN = "taken"
    FAILED = "failed"  # the gateway says FAILURE
    MISSING = "missing"  # the gateway never heard of it
    REFUSED = "refused"  # the receiver says 500 to the first attempts
    GONE = "gone"  # the receiver says 410
    UNKNOWN = "unknown"  # the receiver says 404
    HANGING = "hanging"  # its receiver takes it, but in its bad times never answers
    VANISHING = "vanishing"  # its receiver takes it, but in its bad times nobody is there


WEIGHTS: Mapping[Fate, int] = {
    Fate.TAKEN: 60,
    Fate.FAILED: 10,
    Fate.MISSING: 3,
    Fate.REFUSED: 10,
    Fate.GONE: 5,
    Fate.UNKNOWN: 2,
    Fate.HANGING: 5,
    Fate.VANISHING: 5,
}
STATES: Mapping[Fate, frozenset[str]] = {
    **dict.fromkeys(Fate, DELIVERED),
    Fate.GONE: frozenset({"DISCARDED"}),
    Fate.UNKNOWN: frozenset({"PENDING", "DISCARDED"}),
}


@dataclass(slots=True, kw_only=True)
class Mixture:
    """The tasks of one installation. `hooks` are the receivers other than the steady one.

    One thread feeds; the receiver's event loop asks `decide`.
    """

    site: Site
    chance: Random
    hooks: Mapping[Fate, str]
    fates: dict[str, Fate] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)  # how many of its attempts are still refused
    hangs: threading.Event = field(default_factory=threading.Event)

    refused: list[str] = field(default_factory=list)  # enqueues that failed: in a soak none may

    def enqueue(self) -> None:
        """Enqueue one more, by message or by row; note it when that fails."""
        fate = self._draw()
        action = self.chance.choice(("MUSIC", "LYRICS"))
        task_id = self._begin(fate, action=action)
        by_message = self.chance.choice((True, False))
        try:
            if by_message:
                self.site.send(task_id, action=action, hook=self.hooks.get(fate))
            else:
                watch(self.site, [task_id], action=action, hook=self.hooks.get(fate))
        except (SQLAlchemyError, KombuError, OSError) as problem:
            self.refused.append(f"{task_id}: its enqueue failed: {problem}")

    def decide(self, arrival: Arrival) -> Answer:
        """Answer as the task's fate wants it."""
        match self.fates.get(arrival.task_id):
            case Fate.GONE:
                return Answer(status=410)
            case Fate.UNKNOWN:
                return Answer(status=404)
            case Fate.HANGING if self.hangs.is_set():
                return Answer(status=503, after_s=HANGS_FOR_S)
            case _ if self.refusals.get(arrival.task_id):
                self.refusals[arrival.task_id] -= 1
                return Answer(status=500)
            case _:
                return Answer()

    def to_be_taken(self) -> list[str]:
        """Return the promised tasks whose result must come."""
        promised, fates = self.site.ledger.promised.copy(), self.fates.copy()  # others write meanwhile
        return [name for name, fate in fates.items() if STATES[fate] == DELIVERED and name in promised]

    def _draw(self) -> Fate:
        (fate,) = self.chance.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))
        if fate is Fate.UNKNOWN and Counter(self.fates.values())[fate] >= MOST_UNKNOWN:
            return Fate.TAKEN
        return fate

    def _begin(self, fate: Fate, *, action: str) -> str:
        if fate is Fate.MISSING:
            task_id = self.site.new_id()
            self.site.ledger.expect(task_id, Expected(data="null", status="FAILURE"))
        else:
            task_id = self.site.begin(
                lasts=self.chance.uniform(0, LONGEST_SONG_S),
                action=action,
                outcome=Stage.FAILURE if fate is Fate.FAILED else Stage.SUCCESS,
                states=STATES[fate],
            )
        self.fates[task_id] = fate
        if fate is Fate.REFUSED:
            self.refusals[task_id] = self.chance.randint(1, MOST_REFUSALS)
        return task_id
