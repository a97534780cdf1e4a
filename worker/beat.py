"""Beat ends when it is told to, and sleeps until it rings.

Celery's Beat leaves by an exception that its signal handler raises wherever the program happens to be. Raised
in the middle of a publication, redis-py turns it into an error of the connection (`I/O operation on closed
file`), Beat logs that and goes on ticking until it is killed. Here SIGTERM and SIGINT only ask: Beat ends
before its next tick. An exception comes 3 s later, for a Beat that waits for a broker that is away, and then
every second, in case it too gets lost.
"""

from __future__ import annotations

import atexit
import signal
from types import FrameType
from typing import NoReturn

from celery.beat import Scheduler, Service
from celery.signals import beat_init

from worker.closing import close_whole
from worker.reconnecting import look_often

GRACE_S = 3.0
AGAIN_S = 1.0


class PunctualScheduler(Scheduler):
    """Celery's scheduler, in memory, which wakes when an entry is due.

    Celery's wakes 10 ms before that and looks at its entries again and again until the moment has come. With
    two a second that took six times the CPU of all else that Beat did.
    """

    def adjust(self, n: float, drift: float = 0.0) -> float:
        """Return how long to sleep when an entry is due in `n` seconds."""
        return super().adjust(n, drift)  # type: ignore[arg-type]  # the published types know whole ones only


@beat_init.connect
def prepare_connections(sender: Service, **_: object) -> None:
    """Have Beat keep nothing of a connection that is lost, and look often for a broker that is away."""
    close_whole(sender.app)
    look_often(sender.scheduler.connection)


@beat_init.connect
def _end_between_ticks(sender: Service, **_: object) -> None:
    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        sender.stop()
        signal.setitimer(signal.ITIMER_REAL, GRACE_S, AGAIN_S)

    signal.signal(signal.SIGALRM, _leave)
    # Python's last act but one takes our handlers away: an alarm after that would kill what has ended well.
    atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    raise SystemExit
