"""That a task is gone is believed only when nothing else was asked for, or nothing else came."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.polling import Bench, seen
from worker.core.lifecycle import Status
from worker.core.wire import Bad, Trouble

IDS = tuple(f"song-{number}" for number in range(12))


@pytest.fixture
def old(bench: Bench) -> Bench:
    """Give twelve running tasks of six minutes, which may so end as lost."""
    bench.add(*IDS, enqueued_at=bench.now - timedelta(minutes=6))
    bench.client.replies = {name: seen(Status.IN_PROGRESS) for name in IDS}
    return bench


def polls(bench: Bench, times: int) -> None:
    """Poll that often, each time when it is due."""
    for _ in range(times):
        bench.make_due()
        bench.poll()


def statuses(bench: Bench) -> dict[str, list[str]]:
    """Return which tasks have which status."""
    found: dict[str, list[str]] = {}
    for name in IDS:
        found.setdefault(bench.task(name).status, []).append(name)
    return found


@pytest.mark.parametrize("most_rows", [1, 5, 11])
def test_a_cap_that_nobody_knows_ends_nobody(old: Bench, most_rows: int) -> None:
    """A gateway that sends fewer rows than it was asked for, and says nothing of it, fails no song."""
    old.client.most_rows = most_rows

    polls(old, 5)

    assert "FAILURE" not in statuses(old)
    assert len(old.client.asked) <= 5 * 4  # and the gateway is not overrun


def test_a_lost_task_among_others_ends_with_one_request_more(old: Bench) -> None:
    """The third time, the one that is missing is asked for by itself; then it ends, and nobody else."""
    old.client.replies = {name: seen(Status.IN_PROGRESS) for name in IDS if name != "song-7"}

    polls(old, 3)

    assert statuses(old)["FAILURE"] == ["song-7"]
    assert [len(ids) for _, _, ids in old.client.asked] == [12, 12, 12, 1]
    assert len(old.deliveries()) == 1


def test_where_nothing_came_nothing_is_asked_again(old: Bench) -> None:
    """An answer that names none of them speaks for itself."""
    old.client.replies = {}

    polls(old, 3)

    assert list(statuses(old)) == ["FAILURE"]
    assert [len(ids) for _, _, ids in old.client.asked] == [12, 12, 12]


@pytest.mark.parametrize(
    ("trouble", "cools"), [(Trouble.SERVER_ERROR, True), (Trouble.NETWORK, True), (Trouble.REFUSED, False)]
)
def test_trouble_with_the_second_question_ends_nobody(old: Bench, trouble: Trouble, cools: bool) -> None:
    """Without an answer to it nothing is known: the task stays, and the others keep what was said of them."""
    old.client.replies = {name: seen(Status.IN_PROGRESS) for name in IDS if name != "song-7"}
    polls(old, 2)

    def break_down() -> None:
        if len(old.client.asked) == 4:
            old.client.replies = {"song-7": Bad(trouble=trouble, message="no")}

    old.client.meanwhile = break_down
    polls(old, 1)

    assert list(statuses(old)) == ["IN_PROGRESS", "SUBMITTED"]
    assert (old.gateway().failures > 0) == cools
