"""What one POST did, for the verdict and for the attempt log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

from worker.clients.passage import Passage
from worker.core.verdicts import PostOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One POST's outcome and its way.

    A phase that was cut short lasts until the cut; one that was not reached or not needed is None.
    """

    outcome: PostOutcome
    duration: timedelta  # all of it, a second try after a keep-alive race included
    dns: timedelta | None  # about 0 for an address in the URL and for a name that was just looked up
    connect: timedelta | None  # TCP and TLS
    first_byte: timedelta | None  # from the connection to the first byte of the answer
    remote_address: str | None  # for the operator only: to a stranger it would map our network
    reused: bool  # the connection came from the pool, so `dns` and `connect` are None
    request_bytes: int  # of the body, whether it could be sent or not
    request_sha256: str  # of the same, in hexadecimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What is kept of a body."""

    size: int
    sha256: str

    @classmethod
    def of(cls, body: bytes) -> Sent:
        """Measure `body`."""
        return cls(size=len(body), sha256=sha256(body).hexdigest())


def exchange_of(outcome: PostOutcome, *, passage: Passage, begun: float, end: float, sent: Sent) -> Exchange:
    """Return what is known of a POST that began and ended at these seconds of the event loop's clock."""
    return Exchange(
        outcome=outcome,
        duration=timedelta(seconds=end - begun),
        dns=passage.dns(end=end),
        connect=passage.connect(end=end),
        first_byte=passage.first_byte(),
        remote_address=passage.remote_address,
        reused=passage.reused,
        request_bytes=sent.size,
        request_sha256=sent.sha256,
    )
