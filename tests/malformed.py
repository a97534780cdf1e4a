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
    "not JSON": (
        b"hello",
        "message: is not JSON: Expecting value: line 1 column 1 (char 0); send it as Celery's send_task does",
    ),
    "nothing": (b"", "message: is not JSON: Expecting value"),
    "not UTF-8": (b'{"body": "\xff\xfe"}', "message: is not UTF-8 text; send it as Celery's send_task does"),
    "a number": (
        b"5",
        "message: is a whole number and must be an object; send it as Celery's send_task does",
    ),
    "a list": (b"[]", "message: is a list and must be an object"),
    "too long": (
        b'"' + b"x" * LONGEST + b'"',
        f"message: is longer than {LONGEST} bytes; send no more than the arguments of suno.enqueue",
    ),
    "nested beyond the stack": (nested(20_000).encode(), f"message: is nested deeper than {DEEPEST} levels"),
    "headers nested": (
        message(headers={"x": json.loads(nested(500))}),
        f"message: is nested deeper than {DEEPEST} levels",
    ),
    "an unknown type of kombu's": (
        message(headers={"x": {"__type__": "nonsense", "__value__": 1}}),
        "message: has an item with __type__ that cannot be read: ValueError: ('Unsupported type'",
    ),
    "a broken type of kombu's": (
        message(headers={"x": {"__type__": "uuid", "__value__": 1}}),
        "message: has an item with __type__ that cannot be read: TypeError",
    ),
    "no properties": (
        message(drop=("properties",)),
        "properties: is missing; send it as Celery's send_task does",
    ),
    "no delivery tag": (
        message(drop=("properties.delivery_tag",)),
        "properties.delivery_tag: is missing",
    ),
    "a delivery tag that has no bytes": (
        message(properties={"delivery_tag": "\ud800"}),
        "properties.delivery_tag: has a character that is not printable ASCII",
    ),
    "no delivery info": (
        message(drop=("properties.delivery_info",)),
        "properties.delivery_info: is missing",
    ),
    "no exchange": (
        message(drop=("properties.delivery_info.exchange",)),
        "properties.delivery_info.exchange: is missing",
    ),
    "sent elsewhere": (
        message(properties={"delivery_info": {"exchange": "", "routing_key": "celery"}}),
        "properties.delivery_info: leads elsewhere; send exchange '', routing_key 'enqueue'",
    ),
    "reply to a number": (
        message(properties={"reply_to": 5}),
        "properties.reply_to: is a whole number and must be a string or null",
    ),
    "another body encoding": (
        message(properties={"body_encoding": "rot13"}),
        "properties.body_encoding: is 'rot13'; send base64 or utf-8",
    ),
    "headers are a list": (
        message().replace(b'"headers": {', b'"headers": [], "x": {'),
        "headers: is a list and must be an object or null",
    ),
    "pickle": (
        message(content_type="application/x-python-serialize"),
        "content-type: is 'application/x-python-serialize'; send JSON: serializer='json'",
    ),
    "no content type": (
        message(drop=("content-type",)),
        "content-type: is missing; send JSON: serializer='json'",
    ),
    "no body": (message(drop=("body",)), "body: is missing; send [args, kwargs, embed]"),
    "the body is an object": (
        message().replace(b'"body": "', b'"body": {}, "x": "'),
        "body: is an object and must be a string",
    ),
    "broken base64": (message().replace(b'"body": "', b'"body": "A'), "body: is not UTF-8 text; send it as"),
    "no base64": (message().replace(encoded([[], {}, EMBED]).encode(), b"abc"), "body: is not base64; "),
    "body not JSON": (
        message(properties={"body_encoding": None}),
        "body: is not JSON: Expecting value",
    ),
    "body empty": (
        message().replace(encoded([[], {}, EMBED]).encode(), b""),
        "body: is not JSON: Expecting value",
    ),
    "body a word": (
        message(body="hello"),
        "body: is a string and must be a list; send [args, kwargs, embed]",
    ),
    "body an object": (
        message(body={"task_id": "x"}),
        "body: is an object and must be a list; send [args, kwargs, embed]",
    ),
    "body a mix of both protocols": (
        message(body={"args": [], "kwargs": {}}),
        "body: is an object and must be a list; send [args, kwargs, embed]",
    ),
    "body too short": (
        message(body=[[], {}]),
        "body: has 2 items and must have 3; send [args, kwargs, embed]",
    ),
    "body too long": (
        message(body=[[], {}, {}, {}]),
        "body: has 4 items and must have 3; send [args, kwargs, embed]",
    ),
    "args an object": (message(body=[{}, {}, EMBED]), "body.args: is an object and must be a list"),
    "kwargs a list": (message(body=[[], [], EMBED]), "body.kwargs: is a list and must be an object"),
    "an argument that Celery takes for its own": (
        message(body=[[], {"self": 1}, EMBED]),
        "body.kwargs: Celery cannot hand on an argument named 'self'; leave it out",
    ),
    "kwargs nested": (
        message(body=[[], {"task_id": json.loads(nested(100))}, EMBED]),
        f"body: is nested deeper than {DEEPEST} levels; send no more than",
    ),
    "embed a list": (message(body=[[], {}, [1]]), "body.embed: is a list and must be an object or null"),
    "embed with a key of ours": (
        message(body=[[], {}, {"is_eager": True}]),
        "body.embed.is_eager: is unknown; leave it out",
    ),
    "callbacks a number": (
        message(body=[[], {}, {"callbacks": 5}]),
        "body.embed.callbacks: is a whole number and must be a list or null; send without link",
    ),
    "a callback": (
        message(body=[[], {}, {"callbacks": [{"task": "x"}]}]),
        "body.embed.callbacks: is not empty; send without link",
    ),
    "a chord": (
        message(body=[[], {}, {"chord": {}}]),
        "body.embed.chord: is set; send it alone, without chord",
    ),
    "no id": (
        message(drop=("headers.id",)),
        "headers.id: is missing; send 1 to 255 printable ASCII characters",
    ),
    "an empty id": (
        message(headers={"id": ""}),
        "headers.id: is empty; send 1 to 255 printable ASCII characters",
    ),
    "a number as id": (message(headers={"id": 5}), "headers.id: is a whole number and must be a string"),
    "a long id": (message(headers={"id": "x" * 256}), "headers.id: is longer than 255 characters; send"),
    "a line break in the id": (
        message(headers={"id": "a\nb"}),
        "headers.id: has a character that is not printable ASCII",
    ),
    "the task a number": (
        message(headers={"task": 5}),
        "headers.task: is a whole number and must be a string",
    ),
    "a time limit that is a number": (
        message(headers={"timelimit": 5}),
        "headers.timelimit: is a whole number and must be a list or null; send without time_limit",
    ),
    "three time limits": (
        message(headers={"timelimit": [1, 2, 3]}),
        "headers.timelimit: has 3 items and must have 2",
    ),
    "time limits in words": (
        message(headers={"timelimit": ["a", "b"]}),
        "headers.timelimit: is a string and must be a number or null; send without time_limit and",
    ),
    "retries in words": (
        message(headers={"retries": "x"}),
        "headers.retries: is a string and must be a whole number or null",
    ),
    "an eta": (
        message(headers={"eta": "2030-01-01T00:00:00"}),
        "headers.eta: is set; send without countdown and eta",
    ),
    "expires in words": (
        message(headers={"expires": "soon"}),
        "expires: is not an ISO 8601 time; send without expires",
    ),
    "expires a number": (
        message(headers={"expires": 5}),
        "headers.expires: is a whole number and must be a string or null; send without expires",
    ),
    "compressed": (
        message(headers={"compression": "gzip"}),
        "headers.compression: is set; send without compression",
    ),
    "stamps a number": (
        message(headers={"stamped_headers": 5}),
        "headers.stamped_headers: is a whole number and must be a list or null",
    ),
    "protocol 1 without an id": (
        message(body={"task": "suno.enqueue"}, drop=("headers.task", "headers.id")),
        "body.id: is missing; send 1 to 255",
    ),
    "protocol 1 with odd kwargs": (old_message(kwargs=[]), "body.kwargs: is a list and must be an object"),
    "protocol 1 with an odd time limit": (
        old_message(timelimit=5),
        "body.timelimit: is a whole number and must be a list or null",
    ),
    "neither protocol": (
        message(drop=("headers.task", "headers.id")),
        "headers.task: is missing; send 1 to 255",
    ),
    "a task that is not there": (
        message(headers={"task": "suno.enqueu"}),
        "there is no task 'suno.enqueu' here; other services send suno.enqueue",
    ),
    "a task of Celery's own": (
        message(headers={"task": "celery.chunks"}),
        "there is no task 'celery.chunks' here; other services send suno.enqueue",
    ),
    "protocol 1 and a task that is not there": (
        old_message(task="nope"),
        "there is no task 'nope' here; other services send suno.enqueue",
    ),
}
UNKNOWN_TASK = "there is no task"
