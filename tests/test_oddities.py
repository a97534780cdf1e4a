"""Each kind of oddity is told of once."""

from __future__ import annotations

from worker.oddities import MOST_KINDS, Oddities


def test_each_kind_is_told_once_for_each_gateway() -> None:
    """The first of a kind is told, the next are not; another gateway's is its own."""
    oddities = Oddities()
    lines = ["cannot be read: 1", "cannot be read: 2", "unknown status word: 'X'"]

    assert oddities.untold(gateway="hub", oddities=lines) == [lines[0], lines[2]]
    assert oddities.untold(gateway="hub", oddities=lines) == []
    assert oddities.untold(gateway="other", oddities=lines[:1]) == lines[:1]
    assert oddities.untold(gateway="hub", oddities=["unknown status word: 'Y'"]) == [
        "unknown status word: 'Y'"
    ]


def test_the_memory_is_bounded() -> None:
    """Beyond 1,000 kinds the oldest is forgotten, so a gateway that makes up words fills no memory."""
    oddities = Oddities()
    words = [f"unknown status word: {number}" for number in range(MOST_KINDS + 1)]

    assert oddities.untold(gateway="hub", oddities=words) == words
    assert oddities.untold(gateway="hub", oddities=words[1:]) == []
    assert oddities.untold(gateway="hub", oddities=words[:1]) == words[:1]
