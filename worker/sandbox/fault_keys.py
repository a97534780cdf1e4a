"""Reads a fault that a person wrote, and says what is wrong with it by key, rule and example.

A key that means nothing to the fault's kind is a mistake too: it would promise what does not happen.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import msgspec

from worker.sandbox.faults import Fault, FaultKind

_LONGEST_SHOWN = 60


class BadFault(ValueError):
    """What is wrong with one key of a fault; `key` is empty when it is the fault as a whole."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.key = key
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What a key must be, an example, and the kinds that have it (none: all)."""

    rule: str
    example: object
    kinds: Collection[FaultKind] = ()


_SECONDS = "a number of seconds, 0 to 604800 (a week)"
_COUNT = "a whole number of requests, 0 or more"

KEYS: Mapping[str, Key] = {
    "kind": Key(rule=f"one of {', '.join(FaultKind)}", example="hang"),
    "path": Key(rule="a part of the request's path", example="/rixapi/"),
    "dialect": Key(rule="one of new-api, goamz, suno-api", example="goamz"),
    "action": Key(rule="MUSIC or LYRICS", example="LYRICS"),
    "task_ids": Key(rule="a list of task ids, `*` in them is a joker", example=["t-13", "night-*"]),
    "after_seconds": Key(rule=_SECONDS, example=30),
    "for_seconds": Key(rule=f"{_SECONDS}, more than 0", example=60),
    "after_requests": Key(rule=_COUNT, example=2),
    "requests": Key(rule="a whole number of requests, 1 or more", example=3),
    "status_code": Key(
        rule="a status code from 200 to 599 (redirect: 300 to 399)",
        example=503,
        kinds=(FaultKind.STATUS, FaultKind.REDIRECT),
    ),
    "body": Key(
        rule="the text of the answer",
        example="<h1>502 Bad Gateway</h1>",
        kinds=(FaultKind.STATUS, FaultKind.HTML, FaultKind.ENVELOPE),
    ),
    "content_type": Key(
        rule="a media type without parameters", example="text/html", kinds=(FaultKind.STATUS,)
    ),
    "retry_after": Key(
        rule="a number of seconds, or the header's text", example=120, kinds=(FaultKind.STATUS,)
    ),
    "retry_after_date": Key(
        rule="a whole number of seconds from now, sent as a date; not beside retry_after",
        example=120,
        kinds=(FaultKind.STATUS,),
    ),
    "location": Key(
        rule="a URL of printable ASCII", example="https://example.com/", kinds=(FaultKind.REDIRECT,)
    ),
    "seconds": Key(
        rule="a number of seconds, 0.001 to 86400", example=2.5, kinds=(FaultKind.SLOW, FaultKind.DRIP)
    ),
    "mib": Key(rule="a whole number of MiB, 1 to 4096", example=40, kinds=(FaultKind.FLOOD,)),
    "rows": Key(rule="a whole number of items, 0 or more", example=100, kinds=(FaultKind.CAP,)),
    "word": Key(rule="the status word to show", example="DAYDREAMING", kinds=(FaultKind.WORD,)),
    "fail_reason": Key(rule="a text", example="upstream error", kinds=(FaultKind.STUCK,)),
}


def read_fault(entry: object) -> Fault:
    """Return the fault; raises BadFault for the first thing that is wrong with it."""
    if not isinstance(entry, dict):
        raise BadFault("", f"must be a table of keys, like `{written('kind', 'hang')}`, not {_shown(entry)}")
    for key in entry:
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(KEYS)}"
            raise BadFault(str(key), f"there is no such key: {hint}")
    try:
        fault = msgspec.convert(entry, type=Fault, strict=True)
    except msgspec.ValidationError as error:
        key = _key_of(str(error))
        raise _refusal(key, entry) from error
    _check_together(fault, entry=entry)
    return fault


def written(key: str, value: object) -> str:
    """Return a line that sets a key, as TOML has it."""
    return f"{key} = {msgspec.json.encode(value).decode()}"


def _check_together(fault: Fault, *, entry: Mapping[str, object]) -> None:
    for key in entry:
        kinds = KEYS[key].kinds
        if kinds and fault.kind not in kinds:
            raise BadFault(key, f"means nothing to {fault.kind}, only to {', '.join(kinds)}")
    if fault.kind is FaultKind.REDIRECT and (fault.status_code or 301) // 100 != 3:  # noqa: PLR2004 - 3xx
        raise _refusal("status_code", entry)
    if fault.retry_after is not None and fault.retry_after_date is not None:
        raise _refusal("retry_after_date", entry)


def _refusal(key: str, entry: Mapping[str, object]) -> BadFault:
    found = f"{_shown(entry[key])} will not do" if key in entry else "is missing"
    rule = KEYS[key]
    return BadFault(key, f"{found}: it must be {rule.rule}, like `{written(key, rule.example)}`")


def _key_of(complaint: str) -> str:
    """Return the key that msgspec complains of; the only one that can be missing is `kind`."""
    found = re.search(r"at `\$\.(\w+)", complaint)
    return found[1] if found else "kind"


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
