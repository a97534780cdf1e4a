"""What is entered in the books: what was expected, what came, what was struck, what is recorded."""

from __future__ import annotations

from dataclasses import dataclass

# A result that came this long before a kill was noticed may still have waited to be recorded: sixteen
# installations that heal at the same time keep a machine busy.
IN_FLIGHT_S = 10.0
DELIVERED = frozenset({"DELIVERED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What must become of a task: the data that the gateway shows, the status, how its delivery may stand."""

    data: str
    status: str = "SUCCESS"
    states: frozenset[str] = DELIVERED


@dataclass(slots=True, kw_only=True)
class Arrival:
    """One POST that came whole. `answer` is None when the sender was gone before it was given."""

    at: float  # monotonic seconds
    task_id: str
    webhook_id: str
    attempt: int
    status: str
    data: str  # the exact text
    body_sha256: str
    problem: str | None  # of the signature
    answer: int | None = None

    @property
    def taken(self) -> bool:
        """Whether the receiver has it and said so."""
        return self.answer is not None and 200 <= self.answer < 300 and self.problem is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A kill, or the time in which something was broken: monotonic seconds."""

    start: float
    end: float

    def explains(self, earlier: Arrival, later: Arrival) -> bool:
        """Whether the earlier attempt was on its way to its record when this began or while it lasted, and
        the later one came after it had begun.
        """
        return self.start - IN_FLIGHT_S <= earlier.at <= self.end and self.start < later.at


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What the database says of a task in the end. `taken`: the numbers of its attempts that got a 2xx."""

    status: str
    webhook_id: str | None
    state: str | None
    taken: frozenset[int] = frozenset()
