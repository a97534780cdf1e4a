from __future__ import annotations

import re

import pytest

from tests.malformed import MALFORMED, MINIMAL, OLD, UNKNOWN_TASK, message, old_message
from worker.messages import Malformed, check


@pytest.mark.parametrize(
    ("item", "reason"),
    [(item, reason) for item, reason in MALFORMED.values() if not reason.startswith(UNKNOWN_TASK)],
    ids=[name for name, (_, reason) in MALFORMED.items() if not reason.startswith(UNKNOWN_TASK)],
)
def test_a_malformed_message_is_named_with_its_fault(item: bytes, reason: str) -> None:
    """What would end or wedge a worker is refused, and the reason says in which field the fault is, what it
    is and what to do, in no library's own words.
    """
    with pytest.raises(Malformed) as caught:
        check(queue="enqueue", item=item)

    assert str(caught.value).startswith(reason)
    assert str(caught.value).isprintable()
    assert re.fullmatch(r"[\w.-]+: [^`]+; [^`]+", str(caught.value))


@pytest.mark.parametrize(
    "item",
    [
        message(),
        MINIMAL,
        OLD,
        old_message(),
        message(
            headers={"expires": "2030-01-01T00:00:00+00:00", "timelimit": [None, 5], "unknown": {"x": [1]}}
        ),
        message(properties={"delivery_info": {"exchange": "enqueue", "routing_key": "enqueue"}}),
        message(body=[["positional"], {"unknown": 1}, None]),
    ],
    ids=[
        "kombu's",
        "minimal",
        "protocol 1",
        "protocol 1, bare",
        "with options",
        "exchange",
        "wrong arguments",
    ],
)
def test_what_celery_can_take_passes(item: bytes) -> None:
    """A well-formed message passes, whatever its arguments ask for: its task answers its sender."""
    check(queue="enqueue", item=item)


def test_the_reason_forges_no_log_line() -> None:
    """Text of the message that comes back in the reason is printable."""
    with pytest.raises(Malformed) as caught:
        check(queue="enqueue", item=message(content_type="x\nINFO all is well\x1b[2J"))

    assert "x\\nINFO all is well\\x1b[2J" in str(caught.value)
