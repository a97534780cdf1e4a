"""Requests from a file: one JSON object of keyword arguments on each line.

What cannot be read is a value with its line number: one bad line never spoils the others. A line is read up
to 64 KiB, so that a file of another kind cannot fill the memory; empty lines are skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from worker.cli.terminal import one_line
from worker.request import Refused, Request, parse_request

LONGEST_LINE = 64 * 1024
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line that is a request, or what is wrong with it. `end` is its last byte's place in the file."""

    number: int  # from 1
    end: int
    request: Request | str


def read_lines(stream: BinaryIO) -> Iterator[Line]:
    """Yield each line of `stream` that is not empty, as it comes."""
    number = end = 0
    while raw := stream.readline(LONGEST_LINE + 1):
        number += 1
        end += len(raw)
        if len(raw.removesuffix(b"\n")) > LONGEST_LINE:
            while raw and not raw.endswith(b"\n"):
                raw = stream.readline(LONGEST_LINE)
                end += len(raw)
            yield Line(number=number, end=end, request=f"is longer than {LONGEST_LINE // 1024} KiB")
            continue
        text = (raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw).strip()
        if text:
            yield Line(number=number, end=end, request=_read(text))


def _read(text: bytes) -> Request | str:
    try:
        arguments = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return f"is not JSON: {one_line(error)}"
    if not isinstance(arguments, dict):
        return f'must be an object like {{"task_id": "…", "action": "MUSIC"}}, not {type(arguments).__name__}'
    try:
        return parse_request(arguments)
    except Refused as refusal:
        return one_line(refusal, limit=1000)
