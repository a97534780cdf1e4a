from __future__ import annotations

from datetime import timedelta

import pytest

from worker.clients.passage import Passage


@pytest.mark.parametrize(
    ("passage", "now", "lost"),
    [
        pytest.param(Passage(asked_at=1.0, connected_at=1.0), 1.0, True, id="at once"),
        pytest.param(Passage(asked_at=1.0, connected_at=1.0), 2.0, True, id="after a second"),
        pytest.param(Passage(asked_at=1.0, connected_at=1.0), 2.001, False, id="later"),
        pytest.param(Passage(asked_at=1.0, connected_at=1.0, heard_at=1.0), 1.0, False, id="heard"),
        pytest.param(Passage(asked_at=1.0, socket_at=1.0, connected_at=1.0), 1.0, False, id="fresh"),
        pytest.param(Passage(asked_at=1.0), 1.0, False, id="not connected"),
        pytest.param(Passage(), 1.0, False, id="not begun"),
    ],
)
def test_what_counts_as_a_lost_race(passage: Passage, now: float, lost: bool) -> None:
    """Only a pooled connection that dies within a second, before any byte came back."""
    assert passage.lost_a_race(now=now) is lost


def test_beginning_again_asks_for_a_connection_of_its_own() -> None:
    """Nothing of the first way is left, and the pool is not good enough any more."""
    passage = Passage(asked_at=1.0, connected_at=1.0, remote_address="192.0.2.1")
    passage.begin_again()
    assert passage == Passage(must_be_fresh=True)


@pytest.mark.parametrize(
    ("passage", "dns", "connect", "first_byte"),
    [
        pytest.param(Passage(), None, None, None, id="not begun"),
        pytest.param(Passage(asked_at=1.0), 8, None, None, id="cut in the look-up"),
        pytest.param(Passage(asked_at=1.0, socket_at=2.0), 1, 7, None, id="cut in the connect"),
        pytest.param(Passage(asked_at=1.0, socket_at=2.0, connected_at=4.0), 1, 2, None, id="silence"),
        pytest.param(
            Passage(asked_at=1.0, socket_at=2.0, connected_at=4.0, heard_at=7.0),
            1,
            2,
            3,
            id="whole",
        ),
        pytest.param(Passage(asked_at=1.0, connected_at=1.0, heard_at=4.0), None, None, 3, id="reused"),
    ],
)
def test_the_phases(passage: Passage, dns: int | None, connect: int | None, first_byte: int | None) -> None:
    """A phase that was cut lasts until the end, here 9; what was not reached or not needed is None."""
    phases = passage.dns(end=9.0), passage.connect(end=9.0), passage.first_byte()
    assert phases == tuple(
        None if one is None else timedelta(seconds=one) for one in (dns, connect, first_byte)
    )


def test_the_first_byte_is_timed_once() -> None:
    """Later bytes do not move it."""
    passage = Passage()
    for now in (1.0, 2.0):
        passage.heard(now=now)
    assert (passage.heard_at, passage.last_heard_at) == (1.0, 2.0)
