from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from worker.embedded.signals import listening


@pytest.fixture
def ignored_hang_up() -> Iterator[None]:
    """Ignore SIGHUP, as `nohup` does."""
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGHUP, earlier)


def test_signals_come_in_their_order_and_none_is_lost() -> None:
    """Signals that came while nobody waited are all given at the next wait; then there are none."""
    with listening({signal.SIGTERM, signal.SIGINT}) as wait:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)

        assert wait(None) == [signal.SIGTERM, signal.SIGINT, signal.SIGTERM]
        assert wait(0) == []


@pytest.mark.usefixtures("ignored_hang_up")
def test_an_ignored_signal_stays_ignored() -> None:
    """Under `nohup` a hang-up stops nothing."""
    with listening({signal.SIGHUP}) as wait:
        os.kill(os.getpid(), signal.SIGHUP)

        assert wait(0) == []
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_the_earlier_handlers_come_back() -> None:
    """After the block the signals belong to whoever had them before."""
    before = signal.getsignal(signal.SIGTERM)

    with listening({signal.SIGTERM}):
        assert signal.getsignal(signal.SIGTERM) is not before

    assert signal.getsignal(signal.SIGTERM) is before
