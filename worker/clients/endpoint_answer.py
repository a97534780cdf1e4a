"""What a receiver's answer says: its status line counts, and the start of its body is kept as clean text."""

from __future__ import annotations

from typing import Final

import httpx

from worker.core.webhook import Answered, Failed, PostError, PostOutcome

EXCERPT_LIMIT: Final = 4 * 1024
RETRY_AFTER_LIMIT: Final = 64  # characters; both forms that the header may have are shorter


def read_outcome(response: httpx.Response, *, body: bytes) -> PostOutcome:
    """Return what `response` and the start of its body mean for the delivery."""
    if not 200 <= response.status_code <= 599:  # noqa: PLR2004  # final statuses of HTTP; 101 is none of ours
        return Failed(error=PostError.PROTOCOL, detail="the status is none that may end a POST")
    retry_after = response.headers.get("retry-after")
    return Answered(
        status_code=response.status_code,
        retry_after=None if retry_after is None else retry_after[:RETRY_AFTER_LIMIT],
        excerpt=_excerpt(body),
    )


def _excerpt(body: bytes) -> str:
    """Return the start of `body` as text for any terminal and both databases, at most 4 KiB in UTF-8."""
    text = body[:EXCERPT_LIMIT].decode(errors="replace")
    shown = "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")
    # Each undecodable byte became three: cut again, and drop a last letter that this splits.
    return shown.encode()[:EXCERPT_LIMIT].decode(errors="ignore")
