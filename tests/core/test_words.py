from __future__ import annotations

import pytest

from worker.core.lifecycle import Status
from worker.core.words import STATUS_WORDS, status_of

WORDS = {
    Status.SUBMITTED: "NOT_START NOT_STARTED SUBMITTED PENDING CREATED QUEUED QUEUEING IN_QUEUE STAGED",
    Status.IN_PROGRESS: (
        "IN_PROGRESS PROCESSING RUNNING STREAMING GENERATING MODAL TEXT_SUCCESS FIRST_SUCCESS"
    ),
    Status.SUCCESS: "SUCCESS SUCCEED SUCCEEDED COMPLETE COMPLETED DONE",
    Status.FAILURE: "FAILURE FAILED FAIL ERROR CANCEL CANCELED CANCELLED TIMEOUT EXPIRED",
}


def test_every_word_of_the_family_is_known() -> None:
    """The table holds exactly the words that the gateways were seen to use, each under one status."""
    assert {status: set(words) for status, words in STATUS_WORDS.items()} == {
        status: set(words.split()) for status, words in WORDS.items()
    }
    assert len({word for words in STATUS_WORDS.values() for word in words}) == 32


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("NOT_START", Status.SUBMITTED),
        ("queued", Status.SUBMITTED),
        ("In Progress", Status.IN_PROGRESS),
        ("in-progress", Status.IN_PROGRESS),
        (" streaming ", Status.IN_PROGRESS),
        ("Completed", Status.SUCCESS),
        ("failed", Status.FAILURE),
        ("CREATE_TASK_FAILED", Status.FAILURE),
        ("generate-audio-failed", Status.FAILURE),
    ],
)
def test_spelling_does_not_matter(word: str, status: Status) -> None:
    """Case, hyphens, spaces and what stands before `_FAILED` make no difference."""
    assert status_of(word) is status


@pytest.mark.parametrize(
    "word",
    [
        "UNKNOWN",
        "",
        " ",
        "3",
        "SUCCESSFUL",
        "NOT_FAILED_YET",
        "WARPED",
        "SUCCE\N{LATIN CAPITAL LETTER S WITH CARON}S",
    ],
)
def test_any_other_word_is_no_conclusion(word: str) -> None:
    """A word that is not listed means nothing: neither success nor failure."""
    assert status_of(word) is None


@pytest.mark.parametrize(("status", "words"), WORDS.items(), ids=str)
def test_every_word_in_every_spelling(status: Status, words: str) -> None:
    """Upper, lower and mixed case, with `_`, `-` or a space, and with blanks around: all the same."""
    for word in words.split():
        for case in (word, word.lower(), word.title(), word.swapcase()):
            for joint in "_- ":
                assert status_of(f" {case.replace('_', joint)}\t") is status


def test_letters_that_only_look_alike_are_other_words() -> None:
    """A long s becomes an S in upper case, but no gateway means SUCCESS by it."""
    assert status_of("\N{LATIN SMALL LETTER LONG S}ucce\N{LATIN SMALL LETTER LONG S}s") is None
