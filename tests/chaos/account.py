"""What follows from the books: lost, doubled, wrong. Knows no database, no HTTP and no thread.

A promised task is lost unless its result came, whole, verified and taken, and its delivery stands as
DELIVERED; where the receiver refuses for good, it is lost unless its delivery stands as was expected.

A result that comes again after one that was taken, or that was cut off while it was being answered, is a
*duplicate*. One is excused only by a strike (a kill, an outage) that the earlier one was in flight at and the
later one came after, only while the earlier one was not recorded (or its lease was over), and only under the
same `webhook-id`, with the same body and a new attempt number. Everything else is *wrong*, and as bad as a
loss.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tests.chaos.entries import DELIVERED, Arrival, Expected, Recorded, Strike

# The least that a lease outlives its POST: one that comes again so late was due, whatever its record says.
LEASE_S = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The sum. `lost` and `wrong` hold a line for each, and both have to be empty."""

    tasks: int
    duplicates: int
    lost: tuple[str, ...]
    wrong: tuple[str, ...]


def judge(
    arrivals: Mapping[str, Sequence[Arrival]],
    *,
    promised: Collection[str],
    expected: Mapping[str, Expected],
    strikes: Sequence[Strike],
    recorded: Mapping[str, Recorded],
) -> Account:
    """Compare it all; `arrivals` and `recorded` are by task id, of the tasks that are asked about."""
    repeats = [pair for came in arrivals.values() for pair in pairwise(came) if _is_repeat(pair[0])]
    wrong = [
        f"{task_id}: {fault}"
        for task_id, came in arrivals.items()
        for fault in _faults(came, expected=expected.get(task_id), recorded=recorded.get(task_id))
    ]
    wrong += [
        f"{later.task_id}: attempt {later.attempt} came {later.at - earlier.at:.1f} s after attempt "
        f"{earlier.attempt}, which was recorded, or in flight at no strike in between"
        for earlier, later in repeats
        if not _is_excused(earlier, later, strikes=strikes, recorded=recorded.get(later.task_id))
    ]
    lost = [
        f"{task_id}: {loss}"
        for task_id in sorted(promised)
        if (
            loss := _loss(
                arrivals.get(task_id, ()), expected=expected[task_id], recorded=recorded.get(task_id)
            )
        )
    ]
    return Account(tasks=len(promised), duplicates=len(repeats), lost=tuple(lost), wrong=tuple(wrong))


def _loss(came: Sequence[Arrival], *, expected: Expected, recorded: Recorded | None) -> str | None:
    """Tell how a promise was broken; None when it was kept."""
    if recorded is None:
        return "not in the database"
    if recorded.state not in expected.states:
        return f"{recorded.status}, its delivery is {recorded.state or 'missing'}"
    if recorded.state in DELIVERED and not any(arrival.taken for arrival in came):
        return "DELIVERED, and never came"
    return None


def _is_repeat(earlier: Arrival) -> bool:
    """Whether what follows this is a duplicate: it was taken, or cut off before anyone could know."""
    return earlier.taken or earlier.answer is None


def _faults(
    came: Sequence[Arrival], *, expected: Expected | None, recorded: Recorded | None
) -> Iterator[str]:
    """Tell what no strike excuses."""
    if expected is None:
        yield "came, and nobody enqueued it"
    for arrival in came:
        if arrival.problem is not None:
            yield f"attempt {arrival.attempt} was not verified: {arrival.problem}"
        if expected is not None and arrival.data != expected.data:
            yield f"attempt {arrival.attempt} carried other data than the gateway's"
        if expected is not None and arrival.status != expected.status:
            yield f"attempt {arrival.attempt} told {arrival.status}, which is not {expected.status}"
    ids = {arrival.webhook_id for arrival in came}
    if recorded is not None and recorded.webhook_id is not None:
        ids.add(recorded.webhook_id)
    if len(ids) > 1:
        yield f"has {len(ids)} webhook-ids: {', '.join(sorted(ids))}"
    if len({arrival.body_sha256 for arrival in came}) > 1:
        yield "came with different bodies"
    numbers = [arrival.attempt for arrival in came]
    if len(set(numbers)) < len(numbers):
        yield f"came with an attempt number twice: {numbers}"


def _is_excused(
    earlier: Arrival, later: Arrival, *, strikes: Sequence[Strike], recorded: Recorded | None
) -> bool:
    was_recorded = recorded is not None and earlier.attempt in recorded.taken
    return any(strike.explains(earlier, later) for strike in strikes) and (
        not was_recorded or later.at - earlier.at >= LEASE_S
    )
