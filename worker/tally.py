"""What came of a run's attempts: counted at once, told in the log when there is time."""

from __future__ import annotations

from dataclasses import dataclass

from worker.attempts import log_attempt
from worker.clients.exchange import Exchange
from worker.core.verdicts import Delivered, Discarded, Retry, Verdict
from worker.db.deliveries import Lease


@dataclass(slots=True)
class Counts:
    """What a run did, for Flower."""

    attempts: int = 0
    delivered: int = 0
    retried: int = 0
    discarded: int = 0
    late: int = 0


class Tally:
    """The attempts of one process since its last run ended."""

    def __init__(self) -> None:
        """Begin with none."""
        self._counts = Counts()
        self._untold: list[tuple[Lease, Exchange, Verdict | None]] = []

    def add(self, lease: Lease, exchange: Exchange, verdict: Verdict | None) -> None:
        """Count a recorded attempt; without a verdict it came too late to decide anything."""
        self._counts.attempts += 1
        self._counts.delivered += isinstance(verdict, Delivered)
        self._counts.retried += isinstance(verdict, Retry)
        self._counts.discarded += isinstance(verdict, Discarded)
        self._counts.late += verdict is None
        self._untold.append((lease, exchange, verdict))

    def tell(self) -> None:
        """Log the attempts that were not told yet, a line each."""
        untold, self._untold = self._untold, []
        for lease, exchange, verdict in untold:
            log_attempt(lease, exchange, verdict)

    def take_counts(self) -> Counts:
        """Return what was counted, and begin anew."""
        counts, self._counts = self._counts, Counts()
        return counts
