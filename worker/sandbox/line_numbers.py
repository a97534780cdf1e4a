"""Finds the line of a key in a scenario, for error texts alone: the parsers do not tell.

It looks for what people write. Where it finds nothing it says so with None, and the text names the key only.
"""

from __future__ import annotations

import json
import re

_TOML_FAULT = re.compile(r"^[ \t]*\[\[[ \t]*faults[ \t]*\]\]", re.MULTILINE)
_TOML_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_JSON_FAULTS = re.compile(r'"faults"\s*:\s*\[')
_JSON_BETWEEN = re.compile(r"[\s,]*")


def line_in_toml(text: str, *, fault: int | None, key: str) -> int | None:
    """Return the line of `key` in the fault of that number (from 1), or at the top for None."""
    heads = [found.start() for found in _TOML_FAULT.finditer(text)]
    if fault is None:
        start, end = 0, (heads[0] if heads else len(text))
    elif fault <= len(heads):
        start = text.index("]]", heads[fault - 1])
        table = _TOML_TABLE.search(text, start)
        end = table.start() if table else len(text)
    else:
        return None
    found = key and re.compile(rf"""^[ \t]*["']?{re.escape(key)}["']?[ \t]*=""", re.MULTILINE).search(
        text, start, end
    )
    if found:
        return _line(text, found.end())
    return None if fault is None else _line(text, start)


def line_in_json(text: str, *, fault: int | None, key: str) -> int | None:
    """Return the line of `key` in the fault of that number (from 1), or at the top for None."""
    start, end = 0, len(text)
    if fault is not None:
        faults = _JSON_FAULTS.search(text)
        if faults is None:
            return None
        decoder = json.JSONDecoder()
        end = faults.end()
        for _ in range(fault):
            between = _JSON_BETWEEN.match(text, end)
            start = between.end() if between else end
            _, end = decoder.raw_decode(text, start)
    found = key and re.compile(rf"{re.escape(json.dumps(key))}\s*:").search(text, start, end)
    if found:
        return _line(text, found.end())
    return None if fault is None else _line(text, start)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
