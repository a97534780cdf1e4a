from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from tests.configuration import configured_app
from worker import tasks
from worker.rings import Rings

PATIENCE_S = 10.0


class Publications:
    """Stands where a task's message is published, and can hold it there as a broker that is away does."""

    def __init__(self) -> None:
        """Let nothing pass yet."""
        self.may_pass = threading.Event()
        self.begun: SimpleQueue[tuple[str, dict[str, object]]] = SimpleQueue()
        self.failure: Exception | None = None

    def of(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of publishing the task `name`."""

        def publish(**options: object) -> None:
            self.begun.put((name, options))
            self.may_pass.wait(PATIENCE_S)
            if self.failure is not None:
                raise self.failure

        monkeypatch.setattr(configured_app().tasks[name], "apply_async", publish)


@pytest.fixture
def publications(monkeypatch: pytest.MonkeyPatch) -> Publications:
    """Give the publications of the two doorbells."""
    publications = Publications()
    for name in ("suno.poll", "suno.deliver"):
        publications.of(name, monkeypatch)
    return publications


def test_who_rings_does_not_wait(publications: Publications) -> None:
    """A ring returns while the broker holds the message up; it is published once, with an end to its life."""
    Rings(expires_s=10).ring(tasks.deliver)

    assert publications.begun.get(timeout=PATIENCE_S) == ("suno.deliver", {"retry": False, "expires": 10})
    publications.may_pass.set()


def test_rings_that_wait_become_one(publications: Publications) -> None:
    """While one message is held up, any number of rings for a task become one more message."""
    rings = Rings(expires_s=10)
    rings.ring(tasks.deliver)
    publications.begun.get(timeout=PATIENCE_S)

    for _ in range(100):
        rings.ring(tasks.deliver)
    rings.ring(tasks.poll)
    publications.may_pass.set()

    assert [publications.begun.get(timeout=PATIENCE_S)[0] for _ in range(2)] == ["suno.deliver", "suno.poll"]
    assert publications.begun.empty()


def test_messages_that_come_together_are_passed_on_as_one(publications: Publications) -> None:
    """Two processes with no slot free play no message back and forth; the next tick goes round again."""
    publications.may_pass.set()
    rings = Rings(expires_s=10)

    published = []
    for now in (100.0, 100.0, 100.4, 101.0):
        rings.pass_on(tasks.deliver, now=now)
        rings.ring(tasks.poll)  # behind whatever was passed on
        published.append(list(iter(lambda: publications.begun.get(timeout=PATIENCE_S)[0], "suno.poll")))

    assert published == [["suno.deliver"], [], [], ["suno.deliver"]]


def test_a_message_goes_round_as_long_as_each_may_pass_it_on(publications: Publications) -> None:
    """Three processes without a free slot, a hop of 0.1 s: each publishes once for each tick."""
    publications.may_pass.set()
    line = [Rings(expires_s=10) for _ in range(3)]

    hops = []
    for tick in (100.0, 101.0):
        taken = 0
        while True:
            rings = line[taken % 3]
            rings.pass_on(tasks.deliver, now=tick + taken / 10)
            rings.ring(tasks.poll)  # behind whatever was passed on
            if publications.begun.get(timeout=PATIENCE_S)[0] == "suno.poll":
                break
            assert publications.begun.get(timeout=PATIENCE_S)[0] == "suno.poll"
            taken += 1
        hops.append(taken)

    assert hops == [3, 3]


def test_a_ring_that_fails_harms_nobody(publications: Publications) -> None:
    """After a failed publication the next ring is published."""
    publications.failure = OSError("the broker is away")
    publications.may_pass.set()
    rings = Rings(expires_s=10)

    rings.ring(tasks.deliver)
    publications.begun.get(timeout=PATIENCE_S)
    rings.ring(tasks.deliver)

    assert publications.begun.get(timeout=PATIENCE_S)[0] == "suno.deliver"
