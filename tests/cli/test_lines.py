from __future__ import annotations

import io

from hypothesis import example, given
from hypothesis import strategies as st

from worker.cli.lines import LONGEST_LINE, read_lines
from worker.request import Request

GOOD = b'{"task_id": "song", "action": "MUSIC"}'


@given(st.lists(st.binary(max_size=60).map(lambda raw: raw.replace(b"\n", b"")), max_size=20))
@example([b"\xef\xbb\xbf", b"\x1c"])
def test_every_line_is_accounted_for(raws: list[bytes]) -> None:
    """Whatever bytes come, each line that is not empty is numbered, and a good one after them read."""
    content = b"".join(raw + b"\n" for raw in raws) + GOOD

    lines = list(read_lines(io.BytesIO(content)))

    first = [raw.removeprefix(b"\xef\xbb\xbf") for raw in raws[:1]]
    expected = [number for number, raw in enumerate(first + raws[1:], start=1) if raw.strip()]
    assert [line.number for line in lines] == [*expected, len(raws) + 1]
    assert lines[-1].request == Request(task_id="song", action="MUSIC")
    assert lines[-1].end == len(content)


def test_a_line_is_read_up_to_its_limit() -> None:
    """A line of 64 KiB is read, one byte more is not, and the line after it is."""
    longest = GOOD + b" " * (LONGEST_LINE - len(GOOD))

    lines = list(read_lines(io.BytesIO(longest + b"\n" + longest + b" \n" + GOOD)))

    assert [isinstance(line.request, Request) for line in lines] == [True, False, True]
    assert [line.number for line in lines] == [1, 2, 3]
