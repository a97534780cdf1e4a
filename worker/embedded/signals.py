"""Wait for signals the way one waits for input: none is lost, and nothing happens inside a handler."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field

STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

Wait = Callable[[float | None], list[signal.Signals]]


@dataclass(slots=True, kw_only=True)
class Ear:
    """Asks in between whether a stop has come, and loses none of the signals that it hears on the way."""

    wait: Wait
    _kept: list[signal.Signals] = field(default_factory=list)

    def told_to_stop(self) -> bool:
        """Say at once whether one of STOP has come; the next `listen` still gives it."""
        self._kept += self.wait(0)
        return not STOP.isdisjoint(self._kept)

    def listen(self, timeout: float | None) -> list[signal.Signals]:
        """Give the signals that were kept, or else wait for others."""
        kept, self._kept = self._kept, []
        return kept or self.wait(timeout)


@contextmanager
def listening(numbers: AbstractSet[signal.Signals]) -> Iterator[Wait]:
    """Take over `numbers` for the block; it gives a function that waits for them, in the order they came.

    The function returns an empty list when its timeout in seconds ends first; None waits for ever. A signal
    that is ignored stays so, as under `nohup`, except SIGCHLD. Main thread only.
    """
    heard = {one for one in numbers if one is signal.SIGCHLD or signal.getsignal(one) is not signal.SIG_IGN}
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.set_blocking(writing, False)

    def wait(timeout: float | None) -> list[signal.Signals]:
        ready, _, _ = select.select([reading], [], [], timeout)
        return [signal.Signals(number) for number in os.read(reading, 1024)] if ready else []

    # The interpreter writes each signal's number into the pipe; the handlers only keep the default action
    # away.
    earlier_pipe = signal.set_wakeup_fd(writing)
    earlier = {number: signal.signal(number, lambda _number, _frame: None) for number in heard}
    try:
        yield wait
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(earlier_pipe)
        os.close(reading)
        os.close(writing)
