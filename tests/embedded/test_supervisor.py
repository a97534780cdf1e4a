from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from tests.processes import wait_until_gone
from worker.embedded import supervisor
from worker.embedded.children import Child, StartCalledOff, spawn
from worker.embedded.supervisor import Post, Program, Supervisor, ending, wait_before_restart

LONG = timedelta(hours=1)

# Bodies of programs. WORKS goes on until it is asked to end; the others do one thing first.
WORKS = "while :; do sleep 0.02; done"
SIGNALS = "kill -s $SIGNAL $SUPERVISOR; " + WORKS
FAILS = "exit 3"
FAILS_ONCE = 'test "$(grep -c "$NAME started" "$HISTORY")" = 1 && exit 3; ' + SIGNALS

# What programs do when they are asked to end.
WILLING = 'echo "$NAME stopped" >> "$HISTORY"; exit 0'
DEAF = ":"
ASKS_AGAIN = "kill -s $SIGNAL $SUPERVISOR"
DOUBLED = "kill -s $SIGNAL $SUPERVISOR; sleep 0.2; " + WILLING


@dataclass(slots=True, kw_only=True)
class Scene:
    """Programs made of shell scripts that write down what happens to them, and what was said of them."""

    folder: Path
    signal: str = "TERM"
    children: list[Child] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def program(self, name: str, body: str, *, when_asked: str = WILLING) -> Program:
        """Return a program that counts as started when it is ready to be asked to end."""
        ready = self.folder / f"{name}.ready"
        os.mkfifo(ready)
        script = f"trap '{when_asked}' TERM; echo $NAME started >> $HISTORY; : > {ready}; {body}"

        def start(told_to_stop: Callable[[], bool]) -> Child:
            assert not told_to_stop()
            names = {
                "NAME": name,
                "HISTORY": str(self.history),
                "SIGNAL": self.signal,
                "SUPERVISOR": str(os.getpid()),
            }
            child = spawn(["sh", "-c", script], environment=os.environ | names)
            self.children.append(child)
            ready.read_bytes()
            return child

        return Program(name=name, start=start)

    @property
    def history(self) -> Path:
        """Where the programs write."""
        return self.folder / "history"

    @property
    def happened(self) -> list[str]:
        """What the programs wrote."""
        return self.history.read_text().splitlines()

    @property
    def statuses(self) -> list[int | None]:
        """How each child ended, in the order of their starts."""
        return [child.ended() for child in self.children]

    def run(self, *stages: Sequence[Program], grace: timedelta = LONG) -> str | None:
        """Run a supervisor over the stages to its end."""
        posts = [[Post(program=program) for program in stage] for stage in stages]
        return Supervisor(stages=posts, grace=grace, say=self.said.append).run()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Give a scene whose restarts come at once."""
    monkeypatch.setattr(supervisor, "FIRST_WAIT", timedelta(milliseconds=1))
    return Scene(folder=tmp_path)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_a_signal_stops_all_and_the_first_stage_last(scene: Scene, name: str) -> None:
    """After SIGTERM, SIGINT or SIGHUP each program is asked once, the first stage last."""
    scene.signal = name
    broker = scene.program("broker", WORKS)
    worker = scene.program("worker", SIGNALS)

    assert scene.run([broker], [worker]) is None
    assert scene.happened == ["broker started", "worker started", "worker stopped", "broker stopped"]
    assert scene.statuses == [0, 0]


def test_a_program_that_ends_is_started_again(scene: Scene) -> None:
    """A program that ends by itself starts again, while the others run on."""
    broker = scene.program("broker", WORKS)
    worker = scene.program("worker", FAILS_ONCE)

    assert scene.run([broker], [worker]) is None
    assert scene.said[0] == "worker ended by itself (exit status 3)"
    assert scene.statuses == [0, 3, 0]


def test_a_program_that_keeps_ending_at_its_start_ends_all(scene: Scene) -> None:
    """After the fourth early end the others are stopped, and the reason names the program and its status."""
    broker = scene.program("broker", WORKS)
    worker = scene.program("worker", FAILS)

    assert scene.run([broker], [worker]) == (
        "worker ended 4 times at its start (exit status 3): "
        "its own lines above say why; `suno-worker check` may say more"
    )
    assert scene.statuses == [0, 3, 3, 3, 3]
    assert scene.happened[-1] == "broker stopped"


def test_a_program_that_cannot_start_ends_all(scene: Scene) -> None:
    """An error at a program's start reaches the caller after what runs already was stopped."""

    def refuse(told_to_stop: Callable[[], bool]) -> Child:
        del told_to_stop
        raise FileNotFoundError("no such program")

    broker = scene.program("broker", WORKS)

    with pytest.raises(FileNotFoundError, match="no such program"):
        scene.run([broker], [Program(name="worker", start=refuse)])
    assert scene.statuses == [0]


@pytest.mark.parametrize("restart", [False, True], ids=["first start", "restart"])
def test_a_signal_is_heard_while_a_program_starts(scene: Scene, *, restart: bool) -> None:
    """A start that takes long, as of a broker that reads its file, is called off by a signal: nothing else is
    started, what runs is stopped, and a child that ended meanwhile does not keep anything waiting.
    """
    worker = scene.program("worker", WORKS)
    failing = scene.program("broker", FAILS)
    starts: list[str] = []

    def start(told_to_stop: Callable[[], bool]) -> Child:
        starts.append("broker")
        if restart and len(starts) == 1:
            return failing.start(told_to_stop)
        os.kill(os.getpid(), signal.SIGTERM)
        while not told_to_stop():
            pass
        raise StartCalledOff

    broker = Program(name="broker", start=start)
    outcome = (
        scene.run([worker, broker], [scene.program("late", WORKS)])
        if not restart
        else scene.run([broker, worker])
    )

    assert outcome is None
    assert starts == ["broker"] * (2 if restart else 1)
    assert scene.statuses == ([3, 0] if restart else [0])
    assert scene.said[-1].startswith("stopping: ")


def test_a_deaf_program_is_killed_after_the_grace(scene: Scene) -> None:
    """A program that does not end when asked is killed when the grace is over."""
    worker = scene.program("worker", SIGNALS, when_asked=DEAF)

    assert scene.run([worker], grace=timedelta(milliseconds=50)) is None
    assert scene.statuses == [-signal.SIGKILL]
    wait_until_gone(session=scene.children[0].process.pid)


def test_a_second_signal_kills_what_is_left(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again after a second does not have to wait for the grace."""
    monkeypatch.setattr(supervisor, "SAME_SIGNAL", timedelta(0))
    worker = scene.program("worker", SIGNALS, when_asked=ASKS_AGAIN)

    assert scene.run([worker]) is None
    assert scene.statuses == [-signal.SIGKILL]


def test_a_doubled_signal_counts_once(scene: Scene) -> None:
    """The same signal twice within a second, as GNU timeout sends it, still lets work in flight end."""
    worker = scene.program("worker", SIGNALS, when_asked=DOUBLED)

    assert scene.run([worker]) is None
    assert scene.statuses == [0]
    assert scene.happened[-1] == "worker stopped"


def test_waits_double_until_the_fourth_early_end() -> None:
    """A late end waits 1 s; early ones 1, 2 and 4 s; the fourth in a row is the last."""
    waits = [wait_before_restart(early_ends=number) for number in range(5)]

    assert waits == [
        timedelta(seconds=1),
        timedelta(seconds=1),
        timedelta(seconds=2),
        timedelta(seconds=4),
        None,
    ]


def test_a_program_that_ran_for_long_has_a_clean_record(scene: Scene) -> None:
    """An end more than 30 s after the start is not early, and forgets the early ones before it."""
    post = Post(program=scene.program("worker", WORKS), early_ends=3, started_at=time.monotonic() - 31)

    assert post.vacate(status=0) is None
    assert post.early_ends == 0


@pytest.mark.parametrize(("status", "words"), [(0, "exit status 0"), (2, "exit status 2"), (-9, "SIGKILL")])
def test_an_ending_names_the_status_or_the_signal(status: int, words: str) -> None:
    """A signal is named by its name, every other end by its number."""
    assert ending(status) == words
