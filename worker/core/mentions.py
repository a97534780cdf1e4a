"""Which ids a piece of JSON text mentions that was not understood.

That an id is absent is a conclusion: after three of them its task ends. An id that stands anywhere in an
answer that was not understood is therefore not absent, whatever its place means.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from worker.core.raw_json import scalar

_SEARCH_LIMIT = 1024 * 1024  # bytes: at most 0.5 s; the rows of a hundred songs together take a third of it
# The closing quote is optional: a string without one swallows the rest once, not once for each quote in it.
_STRING_OR_NUMBER = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[0-9]+', re.DOTALL)


def mentioned(text: bytes, *, asked: Collection[str]) -> Collection[str]:
    """Return those of `asked` that are strings or numbers somewhere in `text`, in any spelling.

    A text beyond 1 MiB is not searched: it may mention anyone.
    """
    if not asked or len(text) > _SEARCH_LIMIT:
        return asked
    found = {str(scalar(part)) for part in set(_STRING_OR_NUMBER.findall(text))}
    return [one for one in asked if one in found]
