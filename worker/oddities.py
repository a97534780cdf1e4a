"""Tell of each kind of odd answer once, and not at every poll for ever.

A gateway that sends an unknown word for one task sends it for hundreds, every ten seconds. The first line
says all that can be done about it; how many there are is counted in what `suno.poll` returns.

Limits: the memory is the process's own, so each worker process tells once, and again after a restart. Beyond
1,000 kinds the oldest is forgotten and may be told again.
"""

from __future__ import annotations

from collections.abc import Sequence

from worker.core.oddities import kind_of

MOST_KINDS = 1000


class Oddities:
    """The kinds of oddities that this process has told of, gateway by gateway."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], None] = {}  # in the order in which they were told

    def untold(self, *, gateway: str, oddities: Sequence[str]) -> list[str]:
        """Return the first oddity of each kind that has not been told of, and take it as told now."""
        fresh: list[str] = []
        for oddity in oddities:
            kind = (gateway, kind_of(oddity))
            if kind in self._told:
                continue
            self._told[kind] = None
            fresh.append(oddity)
            if len(self._told) > MOST_KINDS:
                del self._told[next(iter(self._told))]
        return fresh
