"""Text of strangers, made fit for one line of a log: short, printable, without keys."""

from __future__ import annotations

import re

EXCERPT_LENGTH = 200
_READ = 4096  # characters looked at; keys are masked before the excerpt is cut, so that no cut hides one
_KEY = re.compile(r"(?<![A-Za-z0-9])(sk-|whsec_|bearer\s+)[^\s\"'<>()\[\]{},;]+", re.IGNORECASE)


def excerpt(text: str | bytes, *, length: int = EXCERPT_LENGTH) -> str:
    """Return the start of `text` on one line, at most `length` characters and a `…` where it was cut.

    White space becomes single spaces, what cannot be printed becomes its Python escape, and what looks like
    a key (`sk-…`, `whsec_…`, `Bearer …`) is masked: new-api of 2025 puts parts of the caller's key into its
    errors.
    """
    start = text[:_READ].decode(errors="backslashreplace") if isinstance(text, bytes) else text[:_READ]
    line = "".join(map(_printable, " ".join(start.split())))
    masked = _KEY.sub(lambda found: f"{found.group(1).strip()}…", line)
    return masked if len(masked) <= length else f"{masked[:length]}…"


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
