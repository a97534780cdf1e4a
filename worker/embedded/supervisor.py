"""Keep a few programs running until a signal says stop.

A program that ends on its own is started again after 1 s, and after 2 s and 4 s when it goes on ending early.
One that ends four times in a row within 30 s of its start will not heal by waiting: then all stop, and the
reason is given back. The broker starts first and stops last, because the others finish their work over it.

On SIGTERM, SIGINT or SIGHUP, also while a program is starting, each program gets one SIGTERM and `grace` to
end by itself. A second signal, or the end of the grace, kills what is left.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from worker.embedded.children import Child, StartCalledOff
from worker.embedded.signals import STOP, Ear, listening

EARLY = timedelta(seconds=30)
EARLY_ENDS = 4
FIRST_WAIT = timedelta(seconds=1)
# GNU timeout, and some service managers, send the same signal twice: to the process and to its group.
SAME_SIGNAL = timedelta(seconds=1)


def wait_before_restart(*, early_ends: int) -> timedelta | None:
    """Return the wait after `early_ends` early ends in a row, the last included; None means: give up."""
    return None if early_ends >= EARLY_ENDS else FIRST_WAIT * 2 ** max(early_ends - 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What must run: `start` begins it, and returns when others may rely on it.

    It is given a function that says whether a stop was asked for; then it may raise `StartCalledOff`.
    """

    name: str
    start: Callable[[Callable[[], bool]], Child]


@dataclass(slots=True, kw_only=True)
class Post:
    """A program's place: filled by a running child, or waiting for `start_at` (seconds, monotonic)."""

    program: Program
    child: Child | None = None
    start_at: float = 0.0
    started_at: float = 0.0
    early_ends: int = 0

    def fill(self, *, ear: Ear) -> None:
        """Start the program; it stays away when a stop was asked for in the meantime."""
        self.started_at = time.monotonic()
        with suppress(StartCalledOff):
            self.child = self.program.start(ear.told_to_stop)

    def vacate(self, *, status: int) -> str | None:
        """Plan the next start of a program that ended; return why there is none, if so."""
        now = time.monotonic()
        self.child = None
        self.early_ends = self.early_ends + 1 if now - self.started_at < EARLY.total_seconds() else 0
        wait = wait_before_restart(early_ends=self.early_ends)
        if wait is None:
            ended = f"{self.program.name} ended {self.early_ends} times at its start ({ending(status)})"
            return f"{ended}: its own lines above say why; `suno-worker check` may say more"
        self.start_at = now + wait.total_seconds()
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervisor:
    """Runs stages of programs: started in this order, stopped in the other. `say` hears what happens."""

    stages: Sequence[Sequence[Post]]
    grace: timedelta
    say: Callable[[str], None]

    def run(self) -> str | None:
        """Run everything until a signal; return None then, or else the reason that ended it."""
        with listening(STOP | {signal.SIGCHLD}) as wait:
            ear = Ear(wait=wait)
            try:
                return self._keep(ear)
            finally:
                for stage in reversed(self.stages):
                    self._stop([post.child for post in stage if post.child is not None], ear=ear)

    def _keep(self, ear: Ear) -> str | None:
        posts = [post for stage in self.stages for post in stage]
        for post in posts:
            if not ear.told_to_stop():
                post.fill(ear=ear)
        while not STOP.intersection(ear.listen(seconds_to_next_start(posts))):
            for post in posts:
                reason = self._look_after(post, ear=ear)
                if reason is not None:
                    return reason
        self.say("stopping: what is in flight is finished first; a second signal stops it at once")
        return None

    def _look_after(self, post: Post, *, ear: Ear) -> str | None:
        """Start a program whose time has come, notice one that ended; return why all must end, if so."""
        if post.child is None:
            if time.monotonic() >= post.start_at and not ear.told_to_stop():
                post.fill(ear=ear)
            return None
        status = post.child.ended()
        if status is None:
            return None
        self.say(f"{post.program.name} ended by itself ({ending(status)})")
        return post.vacate(status=status)

    def _stop(self, children: Sequence[Child], *, ear: Ear) -> None:
        """Ask each child once, give them the grace together, kill the rest; return when all have ended."""
        asked_at = time.monotonic()
        for child in children:
            child.send(signal.SIGTERM)
        while any(child.ended() is None for child in children):
            left = asked_at + self.grace.total_seconds() - time.monotonic()
            again = left > 0 and STOP.intersection(ear.listen(left))
            if left <= 0 or (again and time.monotonic() - asked_at > SAME_SIGNAL.total_seconds()):
                for child in children:
                    child.send(signal.SIGKILL)
                break
        for child in children:
            child.wait()


def seconds_to_next_start(posts: Sequence[Post]) -> float | None:
    """Return how long until the next program is to be started; None when all are running."""
    starts = [post.start_at for post in posts if post.child is None]
    return max(0.0, min(starts) - time.monotonic()) if starts else None


def ending(status: int) -> str:
    """Say how a process ended.

    >>> ending(1), ending(-9)
    ('exit status 1', 'SIGKILL')
    """
    return signal.Signals(-status).name if status < 0 else f"exit status {status}"
