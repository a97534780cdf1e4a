"""What a log line tells: one event with all its facts, for people as text and for machines as fields.

`logger.info(told("attempt", task_id=…, answer=200))` becomes `task_id='…' answer=200` on the console. In JSON
it is an object with `"event": "attempt"` and each fact as a field of its own; `docs/logs.md` lists them. A
fact that is None is left out. What a stranger wrote is quoted where it could be mistaken for something else.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

Fact = str | int | float | bool | datetime | None

# Unquoted in the text: what can neither end early nor look like another fact.
PLAIN = re.compile(r"[!#-&(-<>-~]+")

# Always quoted: its sender chose it, and whoever searches for one should not have to guess.
QUOTED = frozenset({"task_id"})


@dataclass(frozen=True, slots=True)
class Told:
    """An event. As text: its facts, then its words."""

    event: str
    words: str
    facts: Mapping[str, Fact]

    def __str__(self) -> str:
        """Return the console's text."""
        facts = [f"{name}={_text(name, value)}" for name, value in self.facts.items()]
        return " ".join([*facts, self.words] if self.words else facts)

    def fields(self) -> dict[str, str | int | float | bool]:
        """Return the fields of JSON."""
        return {"event": self.event} | {name: _field(value) for name, value in self.facts.items()}


def told(event: str, words: str = "", /, **facts: Fact) -> Told:
    """Return what to log: the event's fixed name, its facts, and words for a person."""
    return Told(event=event, words=words, facts={k: v for k, v in facts.items() if v is not None})


def _text(name: str, value: Fact) -> str:
    if not isinstance(value, str):
        return str(_field(value))
    shown = str(value)
    return ascii(shown) if name in QUOTED else _quoted(shown)


@functools.lru_cache(maxsize=1024)  # the same gateways, origins and words come over and over again
def _quoted(shown: str) -> str:
    return shown if PLAIN.fullmatch(shown) else ascii(shown)


def _field(value: Fact) -> str | int | float | bool:
    match value:
        case datetime():
            return value.isoformat(timespec="seconds")
        case Enum():
            return str(value.value)
        case None:
            return ""
        case _:
            return value
