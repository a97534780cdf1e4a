from __future__ import annotations

from worker.core.lifecycle import Absent, Seen, Times, Unreadable
from worker.core.oddities import kind_of, odd, stranger


def seen(word: str) -> Seen:
    """Build what a gateway says with a word that nobody knows."""
    return Seen(status=None, upstream_status=word, progress=None, fail_reason="", times=Times(), data=None)


def test_the_kind_is_what_stays_from_poll_to_poll() -> None:
    """Two rows that cannot be read are one kind whatever is in them; each unknown word is its own."""
    (one,), (another,) = odd(Unreadable(excerpt='{"a": 1}')), odd(Unreadable(excerpt='{"a": 2: 3}'))
    (warped,), (woven,) = odd(seen("WARPED: 1")), odd(seen("WARPED: 2"))

    assert kind_of(one) == kind_of(another) == "cannot be read"
    assert kind_of(warped) == "unknown status word: 'WARPED: 1'"
    assert kind_of(woven) != kind_of(warped)
    assert kind_of(stranger(b'{"task_id": "x"}')) == "a row nobody asked for"
    assert odd(Absent()) == ()
