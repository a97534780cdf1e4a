"""Which ids are mentioned in JSON text that was not understood.

That an id is absent is a conclusion: after three of them its task ends. An id that stands anywhere in an
answer that was not understood is therefore not absent, whatever its place means.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from worker.core.raw_json import scalar

_SEARCH_LIMIT = 1024 * 1024  # bytes of one answer: 0.1 to 0.3 s
# The closing quote is optional: a string without one swallows the rest once, not once for each quote in it.
_STRING_OR_NUMBER = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[0-9]+', re.DOTALL)


def mentions(texts: Iterable[bytes], *, asked: Collection[str]) -> dict[str, bytes]:
    """Return those of `asked` that are strings or numbers in `texts`, each with the first such text.

    Beyond 1 MiB in all no text is searched: it may mention anyone.
    """
    found: dict[str, bytes] = {}
    left = list(asked)
    searched = 0
    for text in texts:
        if not left:
            break
        searched += len(text)
        values = set(left) if searched > _SEARCH_LIMIT else _values(text)
        found |= {one: text for one in left if one in values}
        left = [one for one in left if one not in values]
    return found


def _values(text: bytes) -> set[str]:
    return {str(scalar(part)) for part in set(_STRING_OR_NUMBER.findall(text))}
