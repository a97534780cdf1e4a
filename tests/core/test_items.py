from __future__ import annotations

import itertools
import json

import pytest

from worker.core.items import WORD_LENGTH, observe, observe_clips, read_rows
from worker.core.lifecycle import Observation, Seen, Status, Times, Unreadable
from worker.core.raw_json import members


def row(**fields: object) -> bytes:
    """Build one item as JSON."""
    return json.dumps(fields).encode()


def seen(status: Status | None, word: str, *, data: str | None = None, fail_reason: str = "") -> Seen:
    """Build an observation without progress and times."""
    return Seen(
        status=status,
        upstream_status=word,
        progress=None,
        fail_reason=fail_reason,
        times=Times(),
        data=data,
    )


def look(text: bytes, *, whole: bool = False, message: str = "") -> Observation:
    """Observe one item."""
    return observe(members(text) or {}, text=text, whole=whole, message=message)


def test_data_is_passed_on_byte_for_byte() -> None:
    """Spaces, the order of members, escapes and numbers of `data` stay as the gateway wrote them."""
    data = '[ {"b": 1.0, "a":"\\u0041\\ud83d", "n": 1e400},\n{} ]'

    item = look(b'{"task_id": "a", "status": "SUCCESS", "data": ' + data.encode() + b' , "x": 1}')

    assert item == seen(Status.SUCCESS, "SUCCESS", data=data)


@pytest.mark.parametrize("text", [row(status="SUCCESS", data=None), row(status="SUCCESS")])
def test_no_data(text: bytes) -> None:
    """Null and missing data are both none."""
    assert look(text) == seen(Status.SUCCESS, "SUCCESS")


@pytest.mark.parametrize("extra", [{"clips": {}}, {"clips": None}, {"input": "{}"}])
def test_goamz_passes_its_whole_item_on(extra: dict[str, object]) -> None:
    """An item of GoAmz has no `data`: it is the data."""
    text = row(task_id="a", status="completed", **extra)

    assert look(text) == seen(Status.SUCCESS, "completed", data=text.decode())


def test_a_whole_item_without_data_is_the_data() -> None:
    """In a single fetch an item without `data` is passed on whole, one with `data` is not."""
    bare = row(status="complete", text="la la")

    assert look(bare, whole=True) == seen(Status.SUCCESS, "complete", data=bare.decode())
    assert look(row(status="complete", data=[1]), whole=True) == seen(Status.SUCCESS, "complete", data="[1]")


def test_data_before_the_end_is_not_read() -> None:
    """Data that nobody stores may be faulty: it does not hide the word beside it."""
    assert look(b'{"status": "IN_PROGRESS", "data": "\xff"}') == seen(Status.IN_PROGRESS, "IN_PROGRESS")


@pytest.mark.parametrize(
    "text",
    [
        b'{"task_id": "a"}',
        b'{"task_id": "a", "status": ["SUCCESS"]}',
        b'{"task_id": "a", "status": true}',
        b'{"task_id": "a", "status": "SUCCESS", "data": NaN}',
    ],
)
def test_what_cannot_be_understood(text: bytes) -> None:
    """No word, or a result that no receiver could read: unreadable, with an excerpt."""
    assert look(text) == Unreadable(excerpt=text.decode())


def test_a_result_that_is_no_utf8() -> None:
    """Bytes that are no UTF-8 inside a finished result make it unreadable."""
    assert look(b'{"status": "SUCCESS", "data": "\xff"}') == Unreadable(
        excerpt='{"status": "SUCCESS", "data": "\\xff"}',
    )


def test_an_unknown_word_is_kept_short() -> None:
    """The gateway's own word is kept, at most 64 characters of it."""
    assert look(row(status="w" * 100)) == seen(None, "w" * WORD_LENGTH)


def test_the_message_of_the_envelope_is_the_last_resort() -> None:
    """It explains a failure that has no reason of its own, and nothing else."""
    assert look(row(status="failed"), message="busy") == seen(Status.FAILURE, "failed", fail_reason="busy")
    assert look(row(status="failed", error="own"), message="busy") == seen(
        Status.FAILURE,
        "failed",
        fail_reason="own",
    )
    assert look(row(status="completed"), message="busy") == seen(Status.SUCCESS, "completed")


def test_a_reason_is_no_failure() -> None:
    """The status word decides alone: a reason, a result_url or 100 % beside it conclude nothing."""
    text = row(status="IN_PROGRESS", fail_reason="boom", result_url="boom", progress="100%")

    item = look(text)

    assert isinstance(item, Seen)
    assert (item.status, item.fail_reason, item.progress) == (Status.IN_PROGRESS, "boom", 100)


def test_rows_are_matched_by_id() -> None:
    """Order does not matter, strangers are left out, and each is told once."""
    rows = [
        row(task_id="b", status="SUCCESS"),
        row(task_id="stranger", status="WARPED"),
        row(task_id=7, status="QUEUED"),
    ]

    read = read_rows(rows, asked=["7", "a", "b"])

    assert read.observations == {"b": seen(Status.SUCCESS, "SUCCESS"), "7": seen(Status.SUBMITTED, "QUEUED")}
    assert read.oddities == ('a row nobody asked for: {"task_id": "stranger", "status": "WARPED"}',)


DUPLICATES = [
    row(task_id="a", status="SUCCESS"),
    row(task_id="a", status="FAILURE"),
    row(task_id="a", status="IN_PROGRESS"),
    row(task_id="a"),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_of_two_rows_with_one_id_the_terminal_one_counts(order: tuple[int, ...]) -> None:
    """In any order: success, then failure, then what can be read."""
    for start in range(4):
        rows = [DUPLICATES[number] for number in order if number >= start]

        (best,) = read_rows(rows, asked=["a"]).observations.values()

        assert best == look(DUPLICATES[start])


def test_of_two_rows_alike_the_latest_counts() -> None:
    """Two rows that go on: the last one in the answer."""
    rows = [
        row(task_id="a", status="QUEUED"),
        row(task_id="a", status="RUNNING"),
        row(task_id="a", status="PENDING"),
    ]

    assert read_rows(rows, asked=["a"]).observations == {"a": seen(Status.SUBMITTED, "PENDING")}


def test_rows_that_name_nobody() -> None:
    """A row that is no item is told; one that holds an asked id somewhere makes that id unreadable."""
    broken = b'{"task_id": ["a"], "status": "SUCCESS"}'

    read = read_rows([b"null", b"17", broken], asked=["a", "b"])

    assert read.observations == {"a": Unreadable(excerpt=broken.decode())}
    assert read.oddities == (
        "cannot be read: null",
        "cannot be read: 17",
        f"cannot be read: {broken.decode()}",
    )


def test_unknown_words_are_told() -> None:
    """A word that nobody knows is worth a line of the log."""
    read = read_rows([row(task_id="a", status="WAR\nPED")], asked=["a"])

    assert read.observations == {"a": seen(None, "WAR\nPED")}
    assert read.oddities == ("unknown status word: 'WAR PED'",)


@pytest.mark.parametrize(
    ("words", "status", "word"),
    [
        (["complete", "complete"], Status.SUCCESS, "complete"),
        (["complete", "streaming"], Status.IN_PROGRESS, "streaming"),
        (["streaming", "queued"], Status.SUBMITTED, "queued"),
        (["error", "streaming"], Status.IN_PROGRESS, "streaming"),
        (["error", "complete"], Status.SUCCESS, "complete"),
        (["error", "error"], Status.FAILURE, "error"),
        (["complete", "warped"], None, "warped"),
        (["complete"], Status.SUCCESS, "complete"),
    ],
)
def test_bare_clips_say_their_status_together(words: list[str], status: Status | None, word: str) -> None:
    """The least advanced clip decides; one good clip among ended ones makes a success."""
    clips = [row(id=str(number), status=word) for number, word in enumerate(words)]
    text = b"[" + b", ".join(clips) + b"]"

    data = text.decode() if status in {Status.SUCCESS, Status.FAILURE} else None
    assert observe_clips(clips, text=text) == seen(status, word, data=data)


def test_failed_clips_tell_why() -> None:
    """The reason is the first error message in the clips' metadata."""
    clips = [
        row(status="error", metadata={"error_message": None}),
        row(status="error", metadata={"error_message": "artist name"}),
    ]

    item = observe_clips(clips, text=b"[]")

    assert item == seen(Status.FAILURE, "error", data="[]", fail_reason="artist name")


@pytest.mark.parametrize("clips", [[b"null"], [row(status="complete"), row(id="2")]], ids=["null", "no word"])
def test_clips_without_a_word_cannot_be_read(clips: list[bytes]) -> None:
    """One clip without a status leaves the whole answer open."""
    assert observe_clips(clips, text=b"[...]") == Unreadable(excerpt="[...]")
