from __future__ import annotations

from datetime import timedelta

import pytest

from worker.clients.passage import Passage


@pytest.mark.parametrize(
    ("passage", "now", "lost"),
    [
        pytest.param(Passage(most_bytes=9, asked_at=1.0, connected_at=1.0), 1.0, True, id="at once"),
        pytest.param(Passage(most_bytes=9, asked_at=1.0, connected_at=1.0), 2.0, True, id="after a second"),
        pytest.param(Passage(most_bytes=9, asked_at=1.0, connected_at=1.0), 2.001, False, id="later"),
        pytest.param(
            Passage(most_bytes=9, asked_at=1.0, connected_at=1.0, heard_at=1.0), 1.0, False, id="heard"
        ),
        pytest.param(
            Passage(most_bytes=9, asked_at=1.0, socket_at=1.0, connected_at=1.0), 1.0, False, id="fresh"
        ),
        pytest.param(Passage(most_bytes=9, asked_at=1.0), 1.0, False, id="not connected"),
        pytest.param(Passage(most_bytes=9), 1.0, False, id="not begun"),
    ],
)
def test_what_counts_as_a_lost_race(passage: Passage, now: float, lost: bool) -> None:
    """Only a pooled connection that dies within a second, before any byte came back."""
    assert passage.lost_a_race(now=now) is lost


def test_beginning_again_asks_for_a_connection_of_its_own() -> None:
    """Nothing of the first way is left, and the pool is not good enough any more."""
    passage = Passage(most_bytes=9, asked_at=1.0, connected_at=1.0, remote_address="192.0.2.1")
    passage.begin_again()
    assert passage == Passage(most_bytes=9, must_be_fresh=True)


@pytest.mark.parametrize(
    ("passage", "dns", "connect", "first_byte"),
    [
        pytest.param(Passage(most_bytes=9), None, None, None, id="not begun"),
        pytest.param(Passage(most_bytes=9, asked_at=1.0), 8, None, None, id="cut in the look-up"),
        pytest.param(Passage(most_bytes=9, asked_at=1.0, socket_at=2.0), 1, 7, None, id="cut in the connect"),
        pytest.param(
            Passage(most_bytes=9, asked_at=1.0, socket_at=2.0, connected_at=4.0), 1, 2, None, id="silence"
        ),
        pytest.param(
            Passage(most_bytes=9, asked_at=1.0, socket_at=2.0, connected_at=4.0, heard_at=7.0),
            1,
            2,
            3,
            id="whole",
        ),
        pytest.param(
            Passage(most_bytes=9, asked_at=1.0, connected_at=1.0, heard_at=4.0), None, None, 3, id="reused"
        ),
    ],
)
def test_the_phases(passage: Passage, dns: int | None, connect: int | None, first_byte: int | None) -> None:
    """A phase that was cut lasts until the end, here 9; what was not reached or not needed is None."""
    phases = passage.dns(end=9.0), passage.connect(end=9.0), passage.first_byte()
    assert phases == tuple(
        None if one is None else timedelta(seconds=one) for one in (dns, connect, first_byte)
    )


FINAL = b"HTTP/1.1 200 OK\r\n\r\n"
INTERIM = b"HTTP/1.1 100 \r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "taken", "cut"),
    [
        pytest.param([FINAL, b"x" * 79], [FINAL, b"x" * 79], False, id="up to the limit"),
        pytest.param([FINAL, b"x" * 80], [FINAL, b"x" * 79], True, id="beyond it"),
        pytest.param([FINAL, b"x" * 79, b"x"], [FINAL, b"x" * 79, b""], True, id="beyond it, in pieces"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nX: ", b"x" * 79], [b"HTTP/1.1 200 OK\r\nX: ", b"x" * 78], True, id="head"
        ),
        pytest.param([INTERIM * 2, FINAL], [INTERIM * 2, FINAL], False, id="interim"),
        pytest.param([INTERIM * 3, INTERIM], [b"", b""], True, id="flood of interim"),
        pytest.param([INTERIM] * 3, [INTERIM, INTERIM, b""], True, id="drip of interim"),
        pytest.param([FINAL, b"HTTP/ " * 3], [FINAL, b"HTTP/ " * 3], False, id="quoting body"),
        pytest.param([b"y" * 101], [b""], True, id="no HTTP"),
    ],
)
def test_no_more_is_parsed_than_an_answer_may_have(
    monkeypatch: pytest.MonkeyPatch, pieces: list[bytes], taken: list[bytes], cut: bool
) -> None:
    """Of 98 bytes and two interim answers that are allowed, all is taken, and of more only a final start."""
    monkeypatch.setattr("worker.clients.passage.MOST_INTERIM", 2)
    passage = Passage(most_bytes=98)
    assert [passage.hear(piece, now=1.0) for piece in pieces] == taken
    assert (passage.cut, passage.heard_at) == (cut, 1.0)


def test_the_first_byte_is_timed_once() -> None:
    """Later bytes do not move it."""
    passage = Passage(most_bytes=98)
    for now in (1.0, 2.0):
        passage.hear(b"x", now=now)
    assert passage.heard_at == 1.0
