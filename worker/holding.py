"""How long a claim surely holds, as the asker of a gateway may know it.

Requests are made on the event loop, and their answers are recorded in another thread. A record that is late
or lost says that the claim has ended, or will: another worker may ask about the same batch then, so no
further request is made. Each record that lengthens the lease lengthens this too.
"""

from __future__ import annotations

import time
from datetime import timedelta


class Holding:
    """The end of one claim, on the process's monotonic clock. Written by the recorder, read by the asker.

    It is counted from a moment before the claim's or the record's transaction, so it never ends later than
    the lease in the database.
    """

    def __init__(self, *, since: float, lasts: timedelta) -> None:
        """Begin at `since`, in seconds of the monotonic clock."""
        self.end = since + lasts.total_seconds()

    def lengthen(self, *, since: float, lasts: timedelta) -> None:
        """Hold for `lasts`, counted from `since`."""
        self.end = since + lasts.total_seconds()

    def stop(self) -> None:
        """Hold no longer: the claim is another's, or nobody can say."""
        self.end = float("-inf")

    def covers(self, request: timedelta, *, now: float) -> bool:
        """Say whether a request that begins now and takes so long ends within the claim."""
        return now + request.total_seconds() <= self.end


def monotonic() -> float:
    """Return the seconds of the clock that a holding is measured by."""
    return time.monotonic()
