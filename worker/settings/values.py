"""How the text of one variable becomes a value.

Every reader raises ValueError with half a sentence that follows the variable's name: what is wrong with the
value, then what to give. A reader of secrets never quotes what it was given. Readers also accept what they
return, so settings can be built in code.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from pydantic import SecretStr

from worker.core.addresses import Allow
from worker.core.signature import decode_secret

LONGEST_SHOWN = 60  # characters of a wrong value that an error quotes
LONGEST_PREFIX = 64
HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")  # RFC 9110, section 5.6.2
VISIBLE_ASCII = re.compile(r"[!-~]+")
PRINTABLE_ASCII = re.compile(r"[ -~]*")

Word = TypeVar("Word", bound=StrEnum)


def shown(value: object) -> str:
    """Return `value` quoted for an error: one line, printable, cut at 60 characters."""
    text = str(value)
    return ascii(text) if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]!a}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Reads a duration in seconds, whole or with a fraction, and holds it to its range."""

    least: float = 0
    most: float
    zero: bool = True

    def __call__(self, value: object) -> timedelta:
        """Return the duration; microseconds are the finest step."""
        if isinstance(value, timedelta):
            seconds = value.total_seconds()
        else:
            try:
                seconds = float(str(value))
            except ValueError:
                raise ValueError(f"{shown(value)} is not a number; give {self.range}") from None
        if not math.isfinite(seconds) or not self.least <= seconds <= self.most:
            raise ValueError(f"{shown(value)} is out of range; give {self.range}")
        duration = timedelta(seconds=seconds)
        if not duration and not self.zero:
            raise ValueError(f"{shown(value)} is out of range; give {self.range}")
        return duration

    @property
    def range(self) -> str:
        """Say what may be given."""
        if self.zero:
            return f"seconds from {self.least:g} to {self.most:.0f}"
        return f"seconds above 0, at most {self.most:.0f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Reads a whole number and holds it to its range."""

    least: int = 1
    most: int

    def __call__(self, value: object) -> int:
        """Return the number."""
        advice = f"give a whole number from {self.least} to {self.most}"
        try:
            number = int(str(value))
        except ValueError:
            raise ValueError(f"{shown(value)} is not a whole number; {advice}") from None
        if not self.least <= number <= self.most:
            raise ValueError(f"{shown(value)} is out of range; {advice}")
        return number


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOf(Generic[Word]):
    """Reads one of a few words, in any case."""

    words: type[Word]

    def __call__(self, value: object) -> Word:
        """Return the word."""
        for word in self.words:
            if word.lower() == str(value).lower():
                return word
        raise ValueError(f"{shown(value)} is unknown; give {' or '.join(self.words)}")


def split_list(value: object) -> Sequence[object]:
    """Return the items of a JSON list or of a comma-separated text; empty items of the latter are dropped."""
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not value.startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    try:
        items = json.loads(value)
    except ValueError:
        raise ValueError("begins like a JSON list and is none; give a JSON list or commas") from None
    if not all(isinstance(item, (str, int, float)) for item in items):
        raise ValueError("holds something that is neither text nor number; give a flat list")
    return list(items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Reads the retry schedule: the waits after attempt 1, 2, …; an empty list means one attempt only."""

    wait: Seconds
    most: int

    def __call__(self, value: object) -> tuple[timedelta, ...]:
        """Return the waits in their order."""
        waits = [self.wait(item) for item in split_list(value)]
        if len(waits) > self.most:
            raise ValueError(f"has {len(waits)} waits; give at most {self.most}")
        return tuple(waits)


def read_secrets(value: object) -> tuple[SecretStr, ...]:
    """Return webhook secrets, newest first; each must be `whsec_` and base64 of 24 to 64 bytes."""
    items = [
        item if isinstance(item, SecretStr) else SecretStr(str(item).strip()) for item in split_list(value)
    ]
    for number, item in enumerate(items, start=1):
        try:
            decode_secret(item.get_secret_value())
        except ValueError as error:
            place = f"secret {number} of {len(items)}: " if len(items) > 1 else ""
            raise ValueError(f"{place}{error}; print a new one with `suno-worker secret`") from None
    return tuple(items)


def read_allow(value: object) -> Allow:
    """Return the exceptions to the address guard."""
    if isinstance(value, Allow):
        return value
    return Allow.parse([str(item).strip() for item in split_list(value)])


def read_api_key(value: object) -> SecretStr:
    """Return the gateway's key; it must fit into an HTTP header."""
    key = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    if key.lower().startswith("bearer "):
        raise ValueError("begins with 'Bearer ', which AUTH_PREFIX adds; give the key alone")
    if not VISIBLE_ASCII.fullmatch(key):
        raise ValueError(
            "has a space or another character that no header carries; give the key as you got it"
        )
    return SecretStr(key)


def read_header_name(value: object) -> str:
    """Return the name of the header that carries the key."""
    if not HEADER_NAME.fullmatch(str(value)):
        raise ValueError(f"{shown(value)} is no name of an HTTP header; give letters, digits and dashes")
    return str(value)


def read_prefix(value: object) -> str:
    """Return what stands before the key in its header; it may be empty."""
    prefix = str(value)
    if len(prefix) > LONGEST_PREFIX or not PRINTABLE_ASCII.fullmatch(prefix):
        raise ValueError(
            f"{shown(value)} cannot stand in a header; give up to {LONGEST_PREFIX} printable ASCII characters"
        )
    return prefix
