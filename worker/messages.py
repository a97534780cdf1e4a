"""What Celery can take from a queue, as types; everything else is malformed.

A message is read by kombu's own JSON reader, so that what passes here passes there, and then held against the
types below: they are what Celery and kombu take for granted of the keys that they read. Keys that they do not
read may hold anything. Protocol 2 and protocol 1 are understood.

Three things that Celery can do are refused, because each of them can hurt: an `eta` (Redis delivers it many
times over), links, chains and chords (a broken one keeps a thread's slot for ever), and compressed bodies
(they may grow without limit). None has a use with a task that only writes down what to watch.

A message that is well formed but asks for something wrong (an unknown gateway, a positional argument) passes:
its task refuses it, and so its sender can be told.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from celery.utils.time import maybe_iso8601
from kombu.utils.json import loads

from worker.message_faults import reading_fault, shape_fault

LONGEST = 64 * 1024  # bytes of one item; a real one has less than 8 KiB
ONLY_ARGUMENTS = "send no more than the arguments of suno.enqueue"
DEEPEST = 32  # levels of lists and objects: kombu would write a deep one out again and run out of stack

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"\A[ -~]+\Z")]
Nothing = Annotated[list[Any], msgspec.Meta(max_length=0)] | None
Shape = TypeVar("Shape")


class Malformed(ValueError):
    """Celery could not take this message; the text is one printable line: `FIELD: PROBLEM; ADVICE`."""


class DeliveryInfo(msgspec.Struct):
    """Where the message was sent: one that is not acknowledged is put back there."""

    exchange: str
    routing_key: str


class Properties(msgspec.Struct):
    """kombu's part of the envelope."""

    delivery_tag: Name
    delivery_info: DeliveryInfo
    body_encoding: Literal["base64", "utf-8", "UTF-8"] | None = None
    priority: int | None = None
    reply_to: Name | None = None
    correlation_id: Name | None = None


class Envelope(msgspec.Struct):
    """One item of a queue."""

    body: str
    properties: Properties
    content_type: Literal["application/json"] = msgspec.field(name="content-type")
    content_encoding: str | None = msgspec.field(name="content-encoding", default=None)
    headers: dict[str, Any] | None = None


class Fields(msgspec.Struct):
    """Which task to run, and how: the headers of protocol 2, keys of the body in protocol 1."""

    task: Name
    id: Name
    timelimit: tuple[float | None, float | None] | None = None
    eta: None = None
    expires: str | None = None
    retries: int | None = None
    root_id: Name | None = None
    parent_id: Name | None = None
    group: Name | None = None
    shadow: str | None = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    ignore_result: bool | None = None
    compression: None = None
    stamped_headers: list[str] | None = None
    stamps: dict[str, Any] | None = None


class Embed(msgspec.Struct, forbid_unknown_fields=True):
    """The body's third part. Its keys become attributes of the running request, so no others may come."""

    callbacks: Nothing = None
    errbacks: Nothing = None
    chain: Nothing = None
    chord: None = None


class Body(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The body of protocol 2."""

    args: list[Any]
    kwargs: dict[str, Any]
    embed: Embed | None


class OldBody(Fields):
    """The body of protocol 1."""

    args: list[Any] = msgspec.field(default_factory=list)
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    taskset: Name | None = None
    callbacks: Nothing = None
    errbacks: Nothing = None
    chord: None = None


def check(*, queue: str, item: bytes) -> None:
    """Raise `Malformed` unless Celery can take `item` from `queue`."""
    if len(item) > LONGEST:
        raise Malformed(f"message: is longer than {LONGEST} bytes; {ONLY_ARGUMENTS}")
    envelope = _shape(_decode(loads, item, part="message"), Envelope, part="message")
    sent_to = envelope.properties.delivery_info
    if sent_to.exchange not in {"", queue} or sent_to.routing_key != queue:
        raise Malformed(f"properties.delivery_info: leads elsewhere; send exchange '', routing_key '{queue}'")
    text = envelope.body
    if envelope.properties.body_encoding == "base64":
        text = _decode(base64.b64decode, text, part="body")
    body, headers = _decode(loads, text, part="body"), envelope.headers or {}
    if "task" in headers or isinstance(body, list):
        fields = _shape(headers, Fields, part="headers")
        kwargs = _shape(body, Body, part="body").kwargs
    else:
        old = fields = _shape(body, OldBody, part="body")
        kwargs = old.kwargs
    if "self" in kwargs:
        raise Malformed("body.kwargs: Celery cannot hand on an argument named 'self'; leave it out")
    _decode(maybe_iso8601, fields.expires, part="expires")


def _decode(reader: Callable[[Any], Any], value: object, *, part: str) -> Any:  # noqa: ANN401  # JSON
    try:
        decoded = reader(value)
    except RecursionError:
        raise Malformed(_too_deep(part)) from None
    except Exception as error:  # noqa: BLE001  # the readers raise a dozen kinds
        raise Malformed(_printable(reading_fault(error, part=part))) from None
    if _is_deep(decoded):
        raise Malformed(_too_deep(part))
    return decoded


def _shape(value: object, shape: type[Shape], *, part: str) -> Shape:
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise Malformed(_printable(shape_fault(error, part=part))) from None


def _too_deep(part: str) -> str:
    return f"{part}: is nested deeper than {DEEPEST} levels; {ONLY_ARGUMENTS}"


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            child
            for parent in level
            if isinstance(parent, dict | list)
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
    return bool(level)


def _printable(text: str) -> str:
    """Escape what could forge a log line, and keep 300 characters."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text[:300])
