r"""JSON taken apart without being rewritten, whatever is wrong inside one of its parts.

msgspec does the work. It refuses a whole document for one fault, and gateways do send such faults inside a
song: half a surrogate pair (`"\ud83d"`, JavaScript cut an emoji in two), `NaN`, a raw control character,
nesting without end. So when it refuses, the text is cut at the commas and colons that stand directly inside
its outermost bracket; a fault then stays in the part that has it. Parts keep their bytes: `data` is passed
on as it came.

Limits: cutting checks brackets by their number only. It takes 0.2 s per MiB where each byte is a mark, and
answer, rows and row are cut one after the other, so it stops at 2 MiB.
"""

from __future__ import annotations

import json
import re
from typing import NoReturn

import msgspec

_CUT_LIMIT = 2 * 1024 * 1024
_SPACE = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The closing quote is optional: a string without one swallows the rest once, not once for each quote in it.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{},:]', re.DOTALL)

_read_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_read_any = msgspec.json.Decoder().decode
_check = msgspec.json.Decoder(msgspec.Raw).decode


def trimmed(body: bytes) -> bytes:
    """Return `body` without a byte order mark and the white space around it."""
    return body.removeprefix(_BYTE_ORDER_MARK).strip(_SPACE)


def members(text: bytes) -> dict[str, bytes] | None:
    """Return the members of a JSON object, each value as its own text; None when `text` is no object.

    Of two members with one name the last counts. A name that cannot be decoded is left out.
    """
    try:
        return {name: bytes(value) for name, value in _read_members(text).items()}
    except (ValueError, RecursionError):
        parts = _cut(text, brackets=b"{}", marks=b",:")
    if parts is None or len(parts) % 2:
        return None
    names = (scalar(part) for part in parts[::2])
    return {name: value for name, value in zip(names, parts[1::2], strict=True) if isinstance(name, str)}


def elements(text: bytes) -> list[bytes] | None:
    """Return the elements of a JSON array, each as its own text; None when `text` is no array."""
    try:
        return [bytes(element) for element in _read_elements(text)]
    except (ValueError, RecursionError):
        return _cut(text, brackets=b"[]", marks=b",")


def scalar(text: bytes) -> str | int | float | None:
    """Return a JSON string, number or boolean; None for null, arrays, objects and anything unreadable.

    Strings come back fit for a database and a log: bytes that are no UTF-8, halves of surrogate pairs and
    NUL are replaced by U+FFFD.
    """
    if text[:1] in (b"{", b"["):
        return None
    try:
        value = _read_any(text)
    except ValueError:
        try:
            value = json.loads(text.decode(errors="replace"), strict=False)
        except ValueError:
            return None
    if isinstance(value, str):
        return storable(value)
    return value if isinstance(value, int | float) else None


def storable(text: str) -> str:
    """Return `text` fit for a database and a log: halves of surrogate pairs and NUL become U+FFFD."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")


def document(text: bytes) -> str | None:
    """Return `text` as it is if it is one valid JSON document in UTF-8, else None.

    Escapes are kept as escapes, also half a surrogate pair, which JSON's grammar permits.
    """
    try:
        decoded = text.decode()
        try:
            _check(text)
        except ValueError:
            json.loads(decoded, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None
    return decoded


def _refuse_constant(name: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(name)


def _cut(text: bytes, *, brackets: bytes, marks: bytes) -> list[bytes] | None:
    """Cut at the `marks` directly inside the outermost brackets; None if those are not `brackets`."""
    text = text.strip(_SPACE)
    if len(text) > _CUT_LIMIT or text[:1] != brackets[:1] or text[-1:] != brackets[1:]:
        return None
    parts: list[bytes] = []
    depth = 0
    start = 1
    for token in _TOKEN.finditer(text):
        mark = token.group()
        if mark in (b"[", b"{"):
            depth += 1
        elif mark in (b"]", b"}"):
            depth -= 1
            if depth == 0:
                parts.append(text[start : token.start()].strip(_SPACE))
                return _whole(parts) if token.end() == len(text) else None
        elif depth == 1 and mark in marks:
            parts.append(text[start : token.start()].strip(_SPACE))
            start = token.end()
    return None


def _whole(parts: list[bytes]) -> list[bytes]:
    """Return `parts`, or nothing when there is nothing between the brackets."""
    return [] if parts == [b""] else parts
