"""What is wrong with a message, in words for whoever sent it: the field, the problem, and what to do.

msgspec and the readers of JSON name what they expected in words of their own, for programmers; here each
becomes `FIELD: PROBLEM; ADVICE`. Names of fields are Celery's, so that they can be found in its documents.
"""

from __future__ import annotations

import binascii
import json
import re

AS_CELERY = "send it as Celery's send_task does"
IN_ASCII = "send 1 to 255 printable ASCII characters"
NO_TIME_LIMIT = "send without time_limit and soft_time_limit"
THREE_PARTS = "send [args, kwargs, embed]"

# By the field's name, or by the part's for the whole of it.
ADVICE = {
    "body": THREE_PARTS,
    "body_encoding": "send base64 or utf-8",
    "callbacks": "send without link",
    "chain": "send it alone, without chain",
    "chord": "send it alone, without chord",
    "compression": "send without compression",
    "content-type": "send JSON: serializer='json'",
    "errbacks": "send without link_error",
    "eta": "send without countdown and eta",
    "expires": "send without expires, or a time as 2030-01-01T00:00:00+00:00",
    "id": IN_ASCII,
    "task": IN_ASCII,
    "timelimit": NO_TIME_LIMIT,
}

TYPES = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "null": "null",
    "object": "an object",
    "str": "a string",
}
PLACES = {"[0]": ".args", "[1]": ".kwargs", "[2]": ".embed"}  # of a body of protocol 2
LONGEST_VALUE = 80  # characters of a sender's own text

AT = " - at `$"
FIELD = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
TYPE = re.compile(r"Expected `(?P<wanted>[^`]*)`, got `(?P<given>[^`]*)`")
ITEMS = re.compile(r"Expected `array` of (?:at least |at most )?length (?P<wanted>\d+), got (?P<given>\d+)")
WORD = re.compile(r"Invalid enum value (?P<value>.*)", re.DOTALL)
TEXTS = {
    "Expected `array` of length <= 0": "is not empty",
    "Expected `str` of length >= 1": "is empty",
    "Expected `str` of length <= 255": "is longer than 255 characters",
    "Expected `str` matching regex": "has a character that is not printable ASCII",
}


def shape_fault(error: Exception, *, part: str) -> str:
    """Return what msgspec's `error` says of the part `message`, `headers` or `body`."""
    fault, _, path = str(error).rpartition(AT) if AT in str(error) else (str(error), "", "")
    # Which item of a list it is helps nobody, but for a body, whose items have names.
    place = re.sub(
        r"\[[^]]*\]", "", re.sub(r"^\[\d\]", lambda item: PLACES.get(item[0], ""), path.rstrip("`"))
    )
    field = FIELD.fullmatch(fault)
    if field:
        is_unknown = field["what"] == "contains unknown"
        return _told(
            f"{part}{place}.{field['name'][:LONGEST_VALUE]}",
            "is unknown" if is_unknown else "is missing",
            advice="leave it out" if is_unknown else None,
        )
    return _told(f"{part}{place}", _problem(fault))


def reading_fault(error: Exception, *, part: str) -> str:
    """Return why `part` could not be read at all."""
    match error:
        case _ if part == "expires":
            return _told(part, "is not an ISO 8601 time")
        case json.JSONDecodeError():
            problem = f"is not JSON: {error}"
        case UnicodeError():
            problem = "is not UTF-8 text"
        case binascii.Error():
            problem = "is not base64"
        case _:
            problem = f"has an item with __type__ that cannot be read: {type(error).__name__}: {error}"
            problem = problem[: 2 * LONGEST_VALUE]
    return _told(part, problem, advice=AS_CELERY)


def _problem(fault: str) -> str:
    """Return a fault of msgspec's in our words; one that we do not know stays as it is."""
    kind, items, word = TYPE.fullmatch(fault), ITEMS.fullmatch(fault), WORD.fullmatch(fault)
    if kind:
        if kind["wanted"] == "null":
            return "is set"
        wanted = " or ".join(TYPES.get(name, name) for name in kind["wanted"].split(" | "))
        return f"is {TYPES.get(kind['given'], kind['given'])} and must be {wanted}"
    if items:
        return f"has {items['given']} items and must have {items['wanted']}"
    if word:
        return f"is {word['value'][:LONGEST_VALUE]}"
    return next((ours for theirs, ours in TEXTS.items() if fault.startswith(theirs)), fault)


def _told(where: str, problem: str, *, advice: str | None = None) -> str:
    field = where.removeprefix("message.")
    return f"{field}: {problem}; {advice or ADVICE.get(field.rpartition('.')[2], AS_CELERY)}"
