"""Packing loses no task, doubles none, never overfills a request, and makes as few of them as can be."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.core.packing import fill, pack, thin_below
from worker.core.shares import Batch, Move, Request, settle

YOUNG = timedelta(seconds=10)
OLD = timedelta(seconds=300)
SIZE = 100

intervals = st.sampled_from([timedelta(seconds=seconds) for seconds in (10, 20, 60, 300)])
actions = st.sampled_from(["MUSIC", "LYRICS"])


def numbered(found: Iterable[tuple[int, timedelta, str]], *, first: int = 0) -> list[Batch]:
    """Make batches of sizes, intervals and actions."""
    ids = itertools.count(first)
    return [
        Batch(id=next(ids), action=action, size=size, interval=interval) for size, interval, action in found
    ]


def alike(*sizes: int, interval: timedelta = YOUNG, action: str = "MUSIC", first: int = 0) -> list[Batch]:
    """Make batches of one kind."""
    return numbered([(size, interval, action) for size in sizes], first=first)


def sizes(requests: Sequence[Request]) -> list[int]:
    """Return how many tasks each request asks about."""
    return [request.size for request in requests]


def batches_up_to(size: int) -> st.SearchStrategy[list[tuple[int, timedelta, str]]]:
    """Draw batches of any kind."""
    return st.lists(st.tuples(st.integers(min_value=0, max_value=size), intervals, actions), max_size=40)


def test_ten_batches_of_one_task_are_one_request() -> None:
    """Also when they are of different ages."""
    assert sizes(pack(alike(*[1] * 10), batch_size=SIZE, most=4).requests) == [10]
    mixed = numbered((1, timedelta(seconds=10 * (index % 4 + 1)), "MUSIC") for index in range(10))
    assert sizes(pack(mixed, batch_size=SIZE, most=4).requests) == [10]


def test_actions_are_never_mixed() -> None:
    """A request asks about one action only, as the gateways want it."""
    both = [*alike(1, 1), *alike(1, first=2, action="LYRICS")]
    assert sorted(sizes(pack(both, batch_size=SIZE, most=4).requests)) == [1, 2]
    (request,) = pack(alike(1), batch_size=SIZE, most=4).requests
    assert fill([request], alike(1, first=1, action="LYRICS"), batch_size=SIZE) == [request]


def test_the_largest_batches_stay_where_they_are() -> None:
    """Fewest tasks move; one of several donors may be divided."""
    packing = settle(pack(alike(50, 70, 60), batch_size=SIZE, most=4).requests)
    assert packing.asked == (1, 2)
    assert packing.moves == (Move(source=0, target=1, count=30), Move(source=0, target=2, count=None))
    assert packing.emptied == (0,)


def test_nothing_moves_where_no_request_would_be_saved() -> None:
    """Two batches of 60 tasks are two requests either way."""
    packing = settle(pack(alike(60, 60), batch_size=SIZE, most=4).requests)
    assert (packing.asked, packing.moves, packing.emptied) == ((0, 1), (), ())


def test_the_longest_due_come_first() -> None:
    """What more requests would need is left, unless it fits into those that are made anyway."""
    draft = pack(alike(90, 80, 10), batch_size=SIZE, most=1)
    assert sizes(draft.requests) == [100]
    assert [batch.id for batch in draft.left] == [1]


def test_a_slot_that_joining_freed_is_used() -> None:
    """A young and an old thin batch are one request, so there is room for the full one."""
    due = [*alike(1), *alike(1, interval=OLD, first=1), *alike(100, first=2)]
    draft = pack(due, batch_size=SIZE, most=2)
    assert (sizes(draft.requests), draft.left) == ([2, 100], ())


def test_one_new_task_does_not_hurry_a_nearly_full_batch_of_old_ones() -> None:
    """Old tasks join young ones only while both are thin."""
    due = [*alike(5), *alike(95, interval=OLD, first=1)]
    assert sizes(pack(due, batch_size=SIZE, most=4).requests) == [5, 95]
    due = [*alike(5), *alike(89, interval=OLD, first=1)]
    assert sizes(pack(due, batch_size=SIZE, most=4).requests) == [94]


def test_a_request_is_filled_with_its_own_kind_first() -> None:
    """Then with others as long as it is thin, always with whole batches, in the order given."""
    (request,) = pack(alike(10), batch_size=SIZE, most=4).requests
    donors = [*alike(40, 3, interval=OLD, first=1), *alike(45, 50, first=3), *alike(90, first=5)]
    (full,) = fill([request], donors, batch_size=SIZE)
    assert [share.batch.id for share in full.shares] == [0, 3, 1]
    assert full.size == 95
    (to_the_brim,) = fill([full], alike(5, first=6), batch_size=SIZE)
    assert to_the_brim.size == 100


def test_an_oversized_batch_is_a_request_of_its_own() -> None:
    """A batch size that was lowered later: the poller asks such a batch in parts."""
    draft = pack(alike(250, 50, 50), batch_size=SIZE, most=2)
    assert (sizes(draft.requests), draft.left) == ([250, 100], ())


def test_a_batch_that_is_alone_is_asked_by_itself() -> None:
    """Nothing joins it and it joins nothing, neither when it is due nor as a donor."""
    alone = Batch(id=7, action="MUSIC", size=1, interval=YOUNG, alone=True)
    draft = pack([alone, *alike(1, 1)], batch_size=SIZE, most=4)
    assert sorted(sizes(draft.requests)) == [1, 2]
    assert fill(draft.requests, [alone], batch_size=SIZE) == list(draft.requests)
    (request,) = pack([alone], batch_size=SIZE, most=4).requests
    assert fill([request], alike(1), batch_size=SIZE) == [request]


def test_thin_is_below_nine_tenths() -> None:
    """A gateway whose requests take one task has no thin batch."""
    assert [thin_below(batch_size=size) for size in (100, 10, 1)] == [90, 9, 0]


@given(
    due=batches_up_to(130),
    donors=batches_up_to(100),
    batch_size=st.integers(min_value=1, max_value=SIZE),
    most=st.integers(min_value=1, max_value=6),
)
def test_no_task_is_lost_or_doubled(
    due: list[tuple[int, timedelta, str]],
    donors: list[tuple[int, timedelta, str]],
    batch_size: int,
    most: int,
) -> None:
    """After the moves every batch that was used is asked, with all tasks of its request, or empty."""
    held = numbered(due)
    draft = pack(held, batch_size=batch_size, most=most)
    soon = numbered(donors, first=1000)
    requests = fill(draft.requests, [*draft.left, *soon], batch_size=batch_size)
    packing = settle(requests)

    tasks = Counter({batch.id: batch.size for batch in [*held, *soon]})
    before = tasks.total()
    for move in packing.moves:
        count = tasks[move.source] if move.count is None else move.count
        assert 0 <= count <= tasks[move.source]
        tasks[move.source] -= count
        tasks[move.target] += count
    assert tasks.total() == before
    assert [tasks[batch_id] for batch_id in packing.asked] == sizes(requests)
    assert {tasks[batch_id] for batch_id in packing.emptied} <= {0}
    assert len(packing.asked) <= most
    touched = [*packing.asked, *packing.emptied]
    assert len(touched) == len(set(touched))
    assert {batch.id for batch in held} - {batch.id for batch in draft.left} <= set(touched)
    assert {move.target for move in packing.moves} <= set(packing.asked)


@given(due=batches_up_to(130), donors=batches_up_to(100), batch_size=st.integers(min_value=1, max_value=SIZE))
def test_a_request_never_exceeds_the_batch_size(
    due: list[tuple[int, timedelta, str]], donors: list[tuple[int, timedelta, str]], batch_size: int
) -> None:
    """Only a batch that was larger before is so afterwards, and it has been given nothing."""
    draft = pack(numbered(due), batch_size=batch_size, most=6)
    requests = fill(draft.requests, [*draft.left, *numbered(donors, first=1000)], batch_size=batch_size)
    for request in requests:
        assert request.size <= batch_size or len(request.shares) == 1
        assert {share.batch.action for share in request.shares} == {request.action}


@given(
    due=st.lists(st.integers(min_value=0, max_value=SIZE), min_size=1, max_size=40),
    batch_size=st.just(SIZE),
    most=st.integers(min_value=1, max_value=50),
)
def test_batches_of_one_kind_are_the_fewest_requests(due: list[int], batch_size: int, most: int) -> None:
    """As many as their tasks need, or as may be made."""
    draft = pack(alike(*due), batch_size=batch_size, most=most)
    needed = max(1, -(-sum(due) // batch_size))
    assert len(draft.requests) == min(needed, most)
    assert needed > most or not draft.left
