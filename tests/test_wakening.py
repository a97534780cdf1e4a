"""What is asked for is answered, however calls and answers meet."""

from __future__ import annotations

import os
import select
from typing import Any

import pytest

from worker.wakening import Wakening


class Loop:
    """A loop with one reader, which listens when it is told to."""

    def add_reader(self, descriptor: int, callback: Any) -> None:  # noqa: ANN401 - as kombu's hub has it
        """Take the reader."""
        self.descriptor, self.callback = descriptor, callback

    def turn(self) -> bool:
        """Call the reader if it has something to read; say whether it had."""
        readable, _, _ = select.select([self.descriptor], [], [], 0)
        if readable:
            self.callback()
        return bool(readable)


def test_calls_that_come_together_are_answered_once() -> None:
    """Any number of calls before the answer is one answer; the next call is another."""
    answers: list[str] = []
    loop, woken = Loop(), Wakening(lambda: answers.append("answer"))
    woken.listen(loop)

    woken.wake()
    woken.wake()
    assert [loop.turn(), loop.turn()] == [True, False]
    woken.wake()
    assert [loop.turn(), loop.turn()] == [True, False]

    assert answers == ["answer", "answer"]


def test_a_call_while_the_last_one_is_heard_does_not_silence_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thread that asks in the moment in which the loop hears another is answered, and so is whoever asks
    after that.
    """
    answers: list[str] = []
    loop, woken = Loop(), Wakening(lambda: answers.append("answer"))
    woken.listen(loop)
    read = os.read

    def read_beside_another(descriptor: int, length: int) -> bytes:
        woken.wake()
        return read(descriptor, length)

    woken.wake()
    with monkeypatch.context() as patched:
        patched.setattr("worker.wakening.os.read", read_beside_another)
        loop.turn()
    while loop.turn():
        pass
    heard = len(answers)
    woken.wake()

    assert loop.turn()
    assert len(answers) == heard + 1
