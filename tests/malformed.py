"""Messages as other services might write them into our queues: good ones and every kind of bad one."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from worker.messages import DEEPEST, LONGEST

JSON = "application/json"
EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def nested(levels: int) -> str:
    """Return JSON text of lists in lists."""
    return "[" * levels + "]" * levels


def encoded(body: object) -> str:
    """Return a body as kombu sends it."""
    return base64.b64encode(json.dumps(body).encode()).decode()


def message(
    *,
    body: object = None,
    headers: Mapping[str, object] | None = None,
    properties: Mapping[str, object] | None = None,
    drop: tuple[str, ...] = (),
    **envelope: object,
) -> bytes:
    """Return a message of protocol 2 for `suno.enqueue`, some parts replaced and those in `drop` left out."""
    parts: dict[str, Any] = {
        "body": encoded([[], {}, EMBED] if body is None else body),
        "content-type": JSON,
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": "suno.enqueue", "id": "a-message", **(headers or {})},
        "properties": {
            "body_encoding": "base64",
            "delivery_tag": "a-tag",
            "delivery_info": {"exchange": "", "routing_key": "enqueue"},
            **(properties or {}),
        },
    } | {name.replace("_", "-"): value for name, value in envelope.items()}
    for path in drop:
        *parents, last = path.split(".")
        place = parts
        for parent in parents:
            place = place[parent]
        del place[last]
    return json.dumps(parts).encode()


def old_message(**changes: object) -> bytes:
    """Return a message of protocol 1 for `suno.enqueue` with some keys of its body replaced."""
    body = {"task": "suno.enqueue", "id": "an-old-message", "args": [], "kwargs": {}, **changes}
    return message(headers={}, body=body, drop=("headers.lang", "headers.task", "headers.id"))


MINIMAL = json.dumps(
    {
        "body": '[[], {"task_id": "minimal", "action": "MUSIC"}, {}]',
        "content-type": JSON,
        "content-encoding": "utf-8",
        "headers": {"task": "suno.enqueue", "id": "a-minimal-message"},
        "properties": {
            "delivery_tag": "a-tag",
            "delivery_info": {"exchange": "", "routing_key": "enqueue"},
        },
    }
).encode()
OLD = old_message(kwargs={"task_id": "old", "action": "MUSIC"})

# Each with the beginning of the reason that the dead-letter list gives.
MALFORMED: dict[str, tuple[bytes, str]] = {
    "not JSON": (b"hello", "message: JSONDecodeError: Expecting value"),
    "nothing": (b"", "message: JSONDecodeError: Expecting value"),
    "not UTF-8": (b'{"body": "\xff\xfe"}', "message: UnicodeDecodeError"),
    "a number": (b"5", "message: Expected `object`, got `int`"),
    "a list": (b"[]", "message: Expected `object`, got `array`"),
    "too long": (b'"' + b"x" * LONGEST + b'"', f"message: longer than {LONGEST} bytes"),
    "nested beyond the stack": (nested(20_000).encode(), "message: RecursionError"),
    "headers nested": (
        message(headers={"x": json.loads(nested(500))}),
        f"message: nested deeper than {DEEPEST} levels",
    ),
    "an unknown type of kombu's": (
        message(headers={"x": {"__type__": "nonsense", "__value__": 1}}),
        "message: ValueError",
    ),
    "a broken type of kombu's": (
        message(headers={"x": {"__type__": "uuid", "__value__": 1}}),
        "message: TypeError",
    ),
    "no properties": (message(drop=("properties",)), "message: Object missing required field `properties`"),
    "no delivery tag": (
        message(drop=("properties.delivery_tag",)),
        "message: Object missing required field `delivery_tag`",
    ),
    "a delivery tag that has no bytes": (
        message(properties={"delivery_tag": "\ud800"}),
        "message: Expected `str` matching regex",
    ),
    "no delivery info": (
        message(drop=("properties.delivery_info",)),
        "message: Object missing required field `delivery_info`",
    ),
    "no exchange": (
        message(drop=("properties.delivery_info.exchange",)),
        "message: Object missing required field `exchange`",
    ),
    "sent elsewhere": (
        message(properties={"delivery_info": {"exchange": "", "routing_key": "celery"}}),
        "properties.delivery_info: must lead here: exchange '', routing_key 'enqueue'",
    ),
    "reply to a number": (message(properties={"reply_to": 5}), "message: Expected `str | null`, got `int`"),
    "another body encoding": (
        message(properties={"body_encoding": "rot13"}),
        "message: Invalid enum value 'rot13'",
    ),
    "headers are a list": (
        message().replace(b'"headers": {', b'"headers": [], "x": {'),
        "message: Expected `object | null`",
    ),
    "pickle": (message(content_type="application/x-python-serialize"), "message: Invalid enum value"),
    "no content type": (
        message(drop=("content-type",)),
        "message: Object missing required field `content-type`",
    ),
    "no body": (message(drop=("body",)), "message: Object missing required field `body`"),
    "the body is an object": (
        message().replace(b'"body": "', b'"body": {}, "x": "'),
        "message: Expected `str`",
    ),
    "broken base64": (message().replace(b'"body": "', b'"body": "A'), "body: "),
    "body not JSON": (
        message(properties={"body_encoding": None}),
        "body: JSONDecodeError",
    ),
    "body empty": (message().replace(encoded([[], {}, EMBED]).encode(), b""), "body: JSONDecodeError"),
    "body a word": (message(body="hello"), "body: Expected `array`, got `str`"),
    "body an object": (message(body={"task_id": "x"}), "body: Expected `array`, got `object`"),
    "body a mix of both protocols": (message(body={"args": [], "kwargs": {}}), "body: Expected `array`"),
    "body too short": (message(body=[[], {}]), "body: Expected `array` of at least length 3"),
    "body too long": (message(body=[[], {}, {}, {}]), "body: Expected `array` of at most length 3"),
    "args an object": (message(body=[{}, {}, EMBED]), "body: Expected `array`, got `object`"),
    "kwargs a list": (message(body=[[], [], EMBED]), "body: Expected `object`, got `array`"),
    "an argument that Celery takes for its own": (
        message(body=[[], {"self": 1}, EMBED]),
        "body: kwargs: Celery cannot hand on an argument named 'self'",
    ),
    "kwargs nested": (
        message(body=[[], {"task_id": json.loads(nested(100))}, EMBED]),
        f"body: nested deeper than {DEEPEST} levels",
    ),
    "embed a list": (message(body=[[], {}, [1]]), "body: Expected `object | null`, got `array`"),
    "embed with a key of ours": (
        message(body=[[], {}, {"is_eager": True}]),
        "body: Object contains unknown field `is_eager`",
    ),
    "callbacks a number": (message(body=[[], {}, {"callbacks": 5}]), "body: Expected `array | null`"),
    "a callback": (
        message(body=[[], {}, {"callbacks": [{"task": "x"}]}]),
        "body: Expected `array` of length <= 0",
    ),
    "a chord": (message(body=[[], {}, {"chord": {}}]), "body: Expected `null`, got `object`"),
    "no id": (message(drop=("headers.id",)), "headers: Object missing required field `id`"),
    "an empty id": (message(headers={"id": ""}), "headers: Expected `str` of length >= 1"),
    "a number as id": (message(headers={"id": 5}), "headers: Expected `str`, got `int`"),
    "a line break in the id": (message(headers={"id": "a\nb"}), "headers: Expected `str` matching regex"),
    "the task a number": (message(headers={"task": 5}), "headers: Expected `str`, got `int`"),
    "a time limit that is a number": (message(headers={"timelimit": 5}), "headers: Expected `array | null`"),
    "three time limits": (message(headers={"timelimit": [1, 2, 3]}), "headers: Expected `array` of length 2"),
    "time limits in words": (message(headers={"timelimit": ["a", "b"]}), "headers: Expected `float | null`"),
    "retries in words": (message(headers={"retries": "x"}), "headers: Expected `int | null`"),
    "an eta": (message(headers={"eta": "2030-01-01T00:00:00"}), "headers: Expected `null`, got `str`"),
    "expires in words": (message(headers={"expires": "soon"}), "expires: ValueError"),
    "expires a number": (message(headers={"expires": 5}), "headers: Expected `str | null`"),
    "compressed": (message(headers={"compression": "gzip"}), "headers: Expected `null`, got `str`"),
    "stamps a number": (message(headers={"stamped_headers": 5}), "headers: Expected `array | null`"),
    "protocol 1 without an id": (
        message(body={"task": "suno.enqueue"}, drop=("headers.task", "headers.id")),
        "body: Object missing required field `id`",
    ),
    "protocol 1 with odd kwargs": (old_message(kwargs=[]), "body: Expected `object`, got `array`"),
    "protocol 1 with an odd time limit": (old_message(timelimit=5), "body: Expected `array | null`"),
    "neither protocol": (
        message(drop=("headers.task", "headers.id")),
        "body: Expected `object`, got `array`",
    ),
    "a task that is not there": (
        message(headers={"task": "suno.enqueu"}),
        "there is no task 'suno.enqueu' here",
    ),
    "a task of Celery's own": (
        message(headers={"task": "celery.chunks"}),
        "there is no task 'celery.chunks' here",
    ),
    "protocol 1 and a task that is not there": (old_message(task="nope"), "there is no task 'nope' here"),
}
UNKNOWN_TASK = "there is no task"
