"""Answers made from the samples by changes that real gateways make, and by changes that nobody would.

Changes are drawn from a `Random`, so a seed repeats them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.answers import IDS

SAMPLES = tuple(
    path.read_bytes()
    for path in sorted((Path(__file__).parent.parent / "samples").iterdir())
    if path.name != "SOURCES.md"
)

KEYS = (
    *(
        "code",
        "data",
        "message",
        "task_id",
        "taskId",
        "id",
        "status",
        "progress",
        "fail_reason",
        "failReason",
    ),
    *(
        "error",
        "error_message",
        "clips",
        "input",
        "submit_time",
        "submitTime",
        "finish_time",
        "tasks",
        "text",
    ),
)
STATUS_WORDS = (
    *("NOT_START", "SUBMITTED", "queued", "In Progress", "in-progress", "streaming", "SUCCESS", "Completed"),
    *(
        "complete",
        "succeed",
        "done",
        "FAILURE",
        "failed",
        "error",
        "create_task_failed",
        "timeout",
        "UNKNOWN",
    ),
    *("", "SUCCESSFUL", "3", "\u017fucce\u017f\u017f", "FAILED\x00", "line\nbreak\x00\x1b[31m", "w" * 100),
)
SCALARS: tuple[object, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        200,
        1.5,
        4711,
        1783425600123,
        10**30,
        1e308,
        "",
        "success",
        "task_not_exist",
    ),
    *(
        "100%",
        "time out",
        "line\nbreak\x00\x1b[31m",
        "\ud83d",
        "sk-secret",
        [],
        {},
        [[]],
        [None],
        "https://x/None.mp3",
    ),
)
# What no encoder writes, put where the string "@fault@" stood.
FAULTS = (
    *(
        b"NaN",
        b"1e999",
        b"01",
        b'"\xff\xfe"',
        b'"\\q"',
        b'"\\ud83d"',
        b'"raw\x00nul"',
        b"[" * 2000 + b"]" * 2000,
    ),
    *(b"1" * 5000, b"", b"}", b'"', b'{"a":1,"a":2}', b'"\\u0053UCCESS"', b"\xef\xbb\xbf", b"-"),
)
TOKENS = (*FAULTS, b"{", b"[", b",", b":", b'"status"', b'"SUCCESS"', b'"task_id"', b"null", b" ", b"\\")


Place = tuple[Any, ...]  # names and indices that lead from the root of a tree to one of its values


LOOKED_AT = {*KEYS, *range(100)}
OUTER = 3  # names and indices that lead to a member of a row


def mutate(body: bytes, *, random: Random) -> bytes:
    """Return `body` after one to four changes, of its JSON where it is JSON, else of its bytes."""
    for _ in range(random.randint(1, 4)):
        body = random.choice((_change_json, _change_json, _change_bytes))(body, random)
    return body


def _change_json(body: bytes, random: Random) -> bytes:
    try:
        tree = json.loads(body)
        paths = list(_paths(tree))
        # Most places are inside of songs, which nobody reads: two of three changes are made where one looks.
        outer = [path for path in paths if len(path) <= OUTER and {*path} <= LOOKED_AT]
        path = random.choice(outer if random.random() < 2 / 3 else paths)
        text = json.dumps(_replaced(tree, path, random), ensure_ascii=random.random() < 0.5)
    except (ValueError, RecursionError):
        return _change_bytes(body, random)
    return text.encode(errors="surrogatepass").replace(b'"@fault@"', random.choice(FAULTS))


def _paths(tree: object, at: Place = ()) -> Iterator[Place]:
    """Yield the way to every place of a tree; () leads to the whole."""
    yield at
    places = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for place, value in places:
        yield from _paths(value, (*at, place))


def _replaced(tree: Any, path: Place, random: Random) -> object:  # noqa: ANN401 - any JSON value
    if not path:
        return _changed(tree, random)
    copy = tree.copy()
    copy[path[0]] = _replaced(tree[path[0]], path[1:], random)
    return copy


def _changed(old: object, random: Random) -> object:
    """Return something else for `old`: another scalar, a wrapped or doubled one, other members, a fault."""
    kinds: list[Callable[[], object]] = [
        lambda: random.choice(SCALARS),
        lambda: random.choice(STATUS_WORDS),
        lambda: random.choice(IDS),
        lambda: "@fault@",
        lambda: [old],
        lambda: {random.choice(KEYS): old},
        lambda: str(old),
    ]
    if isinstance(old, list) and old:
        kinds += [
            lambda: [*old, *old],
            lambda: old[1:],
            lambda: [*old, random.choice(SCALARS)],
            lambda: old[0],
        ]
    if isinstance(old, dict) and old:
        name = random.choice(sorted(old))
        rest = {one: value for one, value in old.items() if one != name}
        kinds += [
            lambda: rest,
            lambda: {**rest, random.choice(KEYS): old[name]},
            lambda: {**old, random.choice(KEYS): random.choice(SCALARS)},
            lambda: {**old, "task_id": random.choice(IDS), "status": random.choice(STATUS_WORDS)},
            lambda: {**rest, name.upper(): old[name]},
        ]
    return random.choice(kinds)()


def _change_bytes(body: bytes, random: Random) -> bytes:
    start = random.randint(0, len(body))
    end = random.randint(start, min(len(body), start + random.choice((1, 8, 200))))
    match random.randrange(6):
        case 0:
            return body[:start]
        case 1:
            return body[:start] + body[end:]
        case 2:
            return body[:end] + body[start:]
        case 3:
            return body[:start] + random.choice(TOKENS) + body[end:]
        case 4:
            return b"\xef\xbb\xbf" + body
        case _:
            return body[:start] + random.randbytes(end - start) + body[end:]
