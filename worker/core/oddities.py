"""What is worth a line of the log in a good answer: the kind of oddity, a colon, and an excerpt."""

from __future__ import annotations

from worker.core.excerpts import excerpt
from worker.core.lifecycle import Observation, Seen, Unreadable

_UNKNOWN_WORD = "unknown status word"


def odd(observation: Observation) -> tuple[str, ...]:
    """Tell of a part that cannot be read, or of a word nobody knows; of nothing else."""
    match observation:
        case Unreadable(excerpt=text):
            return (f"cannot be read: {text}",)
        case Seen(status=None, upstream_status=word):
            return (f"{_UNKNOWN_WORD}: {excerpt(word)!r}",)
        case _:
            return ()


def stranger(row: bytes) -> str:
    """Tell of a row with an id that nobody asked for."""
    return f"a row nobody asked for: {excerpt(row)}"


def kind_of(oddity: str) -> str:
    """Return what makes one oddity the same as the next: all but its excerpt. Each unknown word is a kind."""
    return oddity if oddity.startswith(_UNKNOWN_WORD) else oddity.partition(":")[0]
