"""The writers of one SQLite file take turns: whoever came first writes first.

SQLite has one write lock and no line in front of it. Who finds it taken sleeps and looks again, at the end
every 0.1 s, and all who come between two looks go first: while sixteen threads enqueued, a record waited for
13 s. So the writers of a process stand in a line, and only the first of them asks SQLite.

Limits: writers of other processes stand in lines of their own, so the first of a line looks every few
milliseconds. The line is a courtesy: who has waited too long leaves it and asks SQLite beside the others,
which is how a thread that begins a second transaction inside its first is told that the file is locked.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakValueDictionary

IN_LINE_S = 10.0


@dataclass(slots=True, eq=False)
class Turn:
    """A place in a line. It has come when nobody is before it any more, or it was given up."""

    came: bool = False
    # An event locks itself while it is set or waited for; the put of this queue may interrupt any other.
    _call: SimpleQueue[None] = field(default_factory=SimpleQueue)

    def come(self) -> None:
        """Tell whoever waits for it, once or more often."""
        self.came = True
        self._call.put(None)

    def wait(self, seconds: float) -> bool:
        """Wait until it has come, so long at most; say whether it has."""
        with suppress(Empty):
            self._call.get(timeout=seconds)
        return self.came


class Line:
    """The writers of one file in this process, in the order in which they came; the first one writes.

    A forgotten connection leaves when the garbage collector finds it: at any moment, also in a thread that is
    just about to join, wait or leave. So the lock is reentrant, and a look at the first in line may find that
    nobody stands there any more.
    """

    def __init__(self) -> None:
        """Let nobody stand in it."""
        self.clear()

    def clear(self) -> None:
        """Forget whoever stands in it."""
        self._lock = threading.RLock()
        self._turns: deque[Turn] = deque()

    def join(self) -> Turn:
        """Stand at the end."""
        turn = Turn()
        with self._lock:
            self._turns.append(turn)
            self._call_first()
        return turn

    def leave(self, turn: Turn) -> None:
        """Let the next one come. From the middle too, and nothing happens to whoever has left before."""
        with self._lock:
            if turn in self._turns:
                self._turns.remove(turn)
                turn.come()
            self._call_first()

    def _call_first(self) -> None:
        with suppress(IndexError):
            self._turns[0].come()


_lines: WeakValueDictionary[str, Line] = WeakValueDictionary()
_lock = threading.Lock()


def line_of(file: str) -> Line:
    """Return the one line of this process for `file`."""
    with _lock:
        return _lines.setdefault(os.path.realpath(file), Line())


def _begin_anew() -> None:
    """Clear the lines of a forked child, which has none of its parent's threads."""
    global _lock  # noqa: PLW0603  # its holder may be a thread that does not exist here
    _lock = threading.Lock()
    for line in _lines.values():
        line.clear()


os.register_at_fork(after_in_child=_begin_anew)


class Writer(sqlite3.Connection):
    """A connection that can stand in line; the end of its transaction is the end of its turn."""

    def __init__(self, *arguments: Any, line: Line, **options: Any) -> None:  # noqa: ANN401  # sqlite3's own
        """Connect as sqlite3 does."""
        super().__init__(*arguments, **options)
        self._line = line
        self._turn: Turn | None = None

    def wait_for_turn(self) -> None:
        """Stand in line until it is this one's turn, 10 s at most; whoever has a turn already keeps it."""
        if self._turn is None:
            self._turn = self._line.join()
            try:
                came = self._turn.wait(IN_LINE_S)
            except BaseException:
                self.give_up_turn()
                raise
            if not came:
                self.give_up_turn()

    def give_up_turn(self) -> None:
        """Leave the line, if this one stands in it."""
        turn, self._turn = self._turn, None
        if turn is not None:
            self._line.leave(turn)

    def commit(self) -> None:
        """End the transaction and the turn; after a failure the transaction may go on, and so the turn."""
        super().commit()
        self.give_up_turn()

    def rollback(self) -> None:
        """End the transaction and the turn."""
        try:
            super().rollback()
        finally:
            self.give_up_turn()

    def close(self) -> None:
        """End everything."""
        try:
            super().close()
        finally:
            self.give_up_turn()
