"""The gateways' words for a status, and ours.

The family stores the word of the next gateway up verbatim, so words of other dialects leak through. A word
that is not listed is no conclusion: new-api makes a failure of it and fails songs that go on (its issue
5045).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from worker.core.lifecycle import Status

STATUS_WORDS: Mapping[Status, frozenset[str]] = MappingProxyType(
    {
        Status.SUBMITTED: frozenset(
            {
                "NOT_START",
                "NOT_STARTED",
                "SUBMITTED",
                "PENDING",
                "CREATED",
                "QUEUED",
                "QUEUEING",
                "IN_QUEUE",
                "STAGED",
            },
        ),
        Status.IN_PROGRESS: frozenset(
            {
                "IN_PROGRESS",
                "PROCESSING",
                "RUNNING",
                "STREAMING",
                "GENERATING",
                "MODAL",
                "TEXT_SUCCESS",
                "FIRST_SUCCESS",
            },
        ),
        Status.SUCCESS: frozenset({"SUCCESS", "SUCCEED", "SUCCEEDED", "COMPLETE", "COMPLETED", "DONE"}),
        Status.FAILURE: frozenset(
            {"FAILURE", "FAILED", "FAIL", "ERROR", "CANCEL", "CANCELED", "CANCELLED", "TIMEOUT", "EXPIRED"},
        ),
    },
)

_STATUS_BY_WORD = {word: status for status, words in STATUS_WORDS.items() for word in words}


def status_of(word: str) -> Status | None:
    """Return the status that a gateway's word means, or None.

    Case does not matter, `-` and space count as `_`, and anything that ends in `_FAILED` is a failure. Other
    letters that upper case turns into these (a long s) make another word.
    """
    if not word.isascii():
        return None
    normal = word.strip().upper().replace("-", "_").replace(" ", "_")
    if normal.endswith("_FAILED"):
        return Status.FAILURE
    return _STATUS_BY_WORD.get(normal)
