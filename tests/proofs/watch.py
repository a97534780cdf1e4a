"""What the tasks of one gateway must be after each claim and answer: the promise, without any SQL.

Things that happen at once have happened in some order. So a history is right if the tables hold what some
order of the same steps leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import permutations
from typing import assert_never


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """A poll batch under lease: its token, its end, and whom it was asked about."""

    claims: int
    until: datetime
    tasks: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A gateway and its tasks. `cooling`: nobody asks it now; `failing`: it is asked once at a time."""

    pending: frozenset[str] = frozenset()
    ended: frozenset[str] = frozenset()
    leases: Mapping[int, Leased]
    failing: bool = False
    cooling: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """These were put under watch."""

    tasks: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One claim took these batches."""

    leases: Mapping[int, Leased]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer to a lease. `until`: more answers follow, and the lease ends then; None for the last one."""

    batch_id: int
    claims: int
    trouble: bool
    ended: frozenset[str]
    until: datetime | None


Step = Watched | Claimed | Answered


class Impossible(Exception):
    """This step may not follow on that world."""


def worlds(world: World, steps: Sequence[Step], *, concurrency: int, now: datetime) -> Iterator[World]:
    """Give what each order of `steps` that is allowed makes of `world`."""
    for order in permutations(steps):
        current = world
        try:
            for step in order:
                current = after(current, step, concurrency=concurrency, now=now)
        except Impossible:
            continue
        yield current


def after(world: World, step: Step, *, concurrency: int, now: datetime) -> World:
    """Return what `step` makes of `world`."""
    match step:
        case Watched(tasks=tasks):
            return replace(world, pending=world.pending | tasks)
        case Claimed():
            return _claimed(world, step, concurrency=concurrency, now=now)
        case Answered():
            return _answered(world, step, now=now)
        case _:
            assert_never(step)


def _claimed(world: World, step: Claimed, *, concurrency: int, now: datetime) -> World:
    if not step.leases:
        return world  # it found nothing that it may ask
    live = {batch_id: lease for batch_id, lease in world.leases.items() if lease.until > now}
    most = 0 if world.cooling else 1 if world.failing else concurrency
    asked = [task for lease in step.leases.values() for task in lease.tasks]
    taken = frozenset(asked)
    busy = frozenset(task for lease in live.values() for task in lease.tasks)
    if (
        len(live) + len(step.leases) > most
        or live.keys() & step.leases.keys()
        or len(asked) > len(taken)
        or taken & busy
        or not taken <= world.pending
    ):
        raise Impossible
    lapsed = {batch_id: lease for batch_id, lease in world.leases.items() if batch_id not in live}
    left = {batch_id: lease for batch_id, lease in lapsed.items() if not _is_over(lease, batch_id, step)}
    if any(lease.tasks & taken for lease in left.values()):
        raise Impossible  # its late record would be taken for that of a batch that it no longer is
    return replace(world, leases={**live, **left, **step.leases})


def _is_over(lease: Leased, batch_id: int, claim: Claimed) -> bool:
    """Say whether a lapsed lease was taken over: leased anew, or all its tasks asked in other batches."""
    taken = frozenset(task for one in claim.leases.values() for task in one.tasks)
    return batch_id in claim.leases or (bool(lease.tasks) and lease.tasks <= taken)


def _answered(world: World, step: Answered, *, now: datetime) -> World:
    lease = world.leases.get(step.batch_id)
    if lease is None or lease.claims != step.claims or (step.until is not None and lease.until <= now):
        return world  # late: it changes nothing
    ended = step.ended & lease.tasks & world.pending
    rest = {batch_id: one for batch_id, one in world.leases.items() if batch_id != step.batch_id}
    if step.until is not None:
        rest[step.batch_id] = replace(lease, until=step.until, tasks=lease.tasks - ended)
    heals = not step.trouble and not world.cooling
    return replace(
        world,
        pending=world.pending - ended,
        ended=world.ended | ended,
        leases=rest,
        failing=step.trouble or (world.failing and not heals),
        cooling=world.cooling or step.trouble,
    )
