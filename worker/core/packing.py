"""Pack the Suno tasks of poll batches that have thinned out into as few requests as possible.

Due batches of one kind (the same action and the same interval) become the fewest requests that can hold
them: the largest batches stay where they are and take the tasks of the others. Then what room is left is
filled with whole batches that are *thin*, below 90 % of the gateway's batch size. So a task moves about once
in its life, which is what full requests cost; moving parts of batches as well was measured at more moves for
hardly fewer requests.

Why kinds: a batch is as young as its youngest task. One new task in a nearly full batch of old ones would
have all of them asked thirty times as often, and leave no room for the next new tasks. So batches of
different intervals join only while both are thin. With 5,000 old tasks beside one new task a second this
halved the requests.

A batch that is *alone*, because the gateway refuses it or an id in it, is asked by itself.

Limits: a batch that is larger than the batch size, because that was lowered later, is left as it is. A
batch gives all of its tasks or none; only one of the same kind may be divided among several requests.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from worker.core.shares import Batch, Request, Share

THIN_PER_CENT = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """The requests of due batches, and the due batches that found no place in them."""

    requests: tuple[Request, ...]
    left: tuple[Batch, ...]


def thin_below(*, batch_size: int) -> int:
    """Return the size from which a batch counts as full."""
    return batch_size * THIN_PER_CENT // 100


def pack(due: Sequence[Batch], *, batch_size: int, most: int) -> Draft:
    """Make at most `most` requests of `due`, longest due first; what does not fit is left for later."""
    requests: list[Request] = []
    left = list(due)
    while left and len(requests) < most:
        chosen, left = _choose(left, batch_size=batch_size, most=most - len(requests))
        fresh = [request for group in chosen for request in _pack_alike(group, batch_size=batch_size)]
        requests = _join(requests + fresh, batch_size=batch_size)
    return Draft(requests=tuple(requests), left=tuple(left))


def fill(requests: Sequence[Request], donors: Sequence[Batch], *, batch_size: int) -> list[Request]:
    """Add whole thin `donors` to `requests`, those of the same interval first, each in the order given."""
    free = [donor for donor in donors if donor.size < thin_below(batch_size=batch_size)]
    filled: list[Request] = []
    for request in requests:
        full = request
        for donor in sorted(free, key=lambda one: one.interval != request.interval):
            addition = Request((Share(batch=donor, count=donor.size),))
            if _may_join(full, addition, batch_size=batch_size):
                full = Request(full.shares + addition.shares)
                free.remove(donor)
        filled.append(full)
    return filled


def _choose(due: Sequence[Batch], *, batch_size: int, most: int) -> tuple[list[list[Batch]], list[Batch]]:
    """Return the kinds of those batches that `most` requests can hold, and the batches that are left."""
    kinds: defaultdict[object, list[Batch]] = defaultdict(list)
    totals: Counter[object] = Counter()
    needed: Counter[object] = Counter()
    left: list[Batch] = []
    for batch in due:
        kind = (batch.action, batch.interval, batch.id if batch.alone or batch.size > batch_size else None)
        need = _fewest(len(kinds[kind]) + 1, tasks=totals[kind] + batch.size, batch_size=batch_size)
        if needed.total() - needed[kind] + need > most:
            left.append(batch)
            continue
        kinds[kind].append(batch)
        totals[kind] += batch.size
        needed[kind] = need
    return [alike for alike in kinds.values() if alike], left


def _fewest(batches: int, *, tasks: int, batch_size: int) -> int:
    """Return how few requests can hold so many tasks of so many batches; an oversized batch is one."""
    return max(1, min(batches, -(-tasks // batch_size)))


def _pack_alike(batches: Sequence[Batch], *, batch_size: int) -> list[Request]:
    """Make the fewest requests of batches of one kind: the largest stay, the others go where they fit."""
    by_size = sorted(batches, key=lambda batch: -batch.size)
    tasks = sum(batch.size for batch in batches)
    stay = _fewest(len(batches), tasks=tasks, batch_size=batch_size)
    requests = [[Share(batch=batch, count=batch.size)] for batch in by_size[:stay]]
    room = [batch_size - batch.size for batch in by_size[:stay]]
    for batch in by_size[stay:]:
        whole = next((index for index in range(stay) if room[index] >= batch.size), None)
        left = batch.size
        for index in range(stay) if whole is None else (whole,):
            count = min(left, room[index])
            if count or whole is not None:
                requests[index].append(Share(batch=batch, count=count))
                room[index] -= count
                left -= count
    return [Request(tuple(shares)) for shares in requests]


def _join(requests: Sequence[Request], *, batch_size: int) -> list[Request]:
    """Put requests together that fit as wholes."""
    joined: list[Request] = []
    for request in requests:
        for index, other in enumerate(joined):
            if _may_join(other, request, batch_size=batch_size):
                joined[index] = Request(other.shares + request.shares)
                break
        else:
            joined.append(request)
    return joined


def _may_join(one: Request, other: Request, *, batch_size: int) -> bool:
    fits = one.action == other.action and one.size + other.size <= batch_size
    both_thin = max(one.size, other.size) < thin_below(batch_size=batch_size)
    return fits and (both_thin or one.interval == other.interval) and not (one.alone or other.alone)
