"""Run `celery …` by a wall clock of its own: `python -m tests.chaos.set_clock FILE ARGUMENTS`.

FILE holds seconds that are added to the time; what is written there while the program runs holds at once, as
if somebody had set the machine's clock. The monotonic clocks stay as they are, as they do on a machine.
"""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import time_machine

LOOK_EVERY_S = 0.02


class Clock:
    """The wall clock of this process."""

    def __init__(self, file: Path) -> None:
        """Set it once, before anything has looked at it."""
        self._file = file
        self._ahead_s = 0.0
        self._set: time_machine.travel | None = None
        self.look()

    def look(self) -> None:
        """Set it when the file says something new."""
        text = self._file.read_text()
        if not text.endswith("\n") or float(text) == self._ahead_s:  # half written, or nothing new
            return
        self._ahead_s = float(text)
        if self._set is not None:
            self._set.stop()
        self._set = time_machine.travel(datetime.now(UTC) + timedelta(seconds=self._ahead_s), tick=True)
        self._set.start()

    def follow(self) -> None:
        """Look again and again."""
        while True:
            time.sleep(LOOK_EVERY_S)
            self.look()


def main() -> None:
    """Run Celery's own command line."""
    clock = Clock(Path(sys.argv.pop(1)))
    threading.Thread(target=clock.follow, daemon=True).start()
    from celery.__main__ import main as celery  # noqa: PLC0415 - it looks at the clock

    celery()


if __name__ == "__main__":
    main()
