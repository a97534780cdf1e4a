"""What a receiver's answer says: its status line counts, and the start of its body is kept as clean text."""

from __future__ import annotations

from typing import Final

from worker.clients.response import Response
from worker.core.verdicts import Answered, Failed, PostError, PostOutcome

EXCERPT_LIMIT: Final = 4 * 1024
RETRY_AFTER_LIMIT: Final = 64  # characters; both forms that the header may have are shorter


def read_outcome(answer: Response) -> PostOutcome:
    """Return what an answer and the start of its body mean for the delivery."""
    if not 200 <= answer.status_code <= 599:  # noqa: PLR2004  # final statuses of HTTP; 101 is none of ours
        return Failed(error=PostError.PROTOCOL, detail="the status is none that may end a POST")
    retry_after = answer.header("retry-after")
    return Answered(
        status_code=answer.status_code,
        retry_after=None if retry_after is None else retry_after[:RETRY_AFTER_LIMIT],
        excerpt=_excerpt(bytes(answer.body[:EXCERPT_LIMIT])),
    )


def _excerpt(body: bytes) -> str:
    """Return `body`, at most 4 KiB, as text of at most 4 KiB for any terminal and both databases."""
    text = body.decode(errors="replace")
    if not text.replace("\n", "").replace("\t", "").isprintable():
        text = "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")
    # Each undecodable byte became three: cut again, and drop a last letter that this splits.
    return text.encode()[:EXCERPT_LIMIT].decode(errors="ignore")
