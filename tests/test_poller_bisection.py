"""An id that the gateway refuses is found, set apart and asked again rarely; the others never notice."""

from __future__ import annotations

import json
import logging
import time
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests.clients.peers import Connection, answer
from tests.polling import INTERVAL, Bench, seen, serving
from worker.core.lifecycle import Status
from worker.core.wire import Bad, Fetch, Trouble
from worker.db.models import PollBatch, SunoTask

REFUSED = Bad(trouble=Trouble.REFUSED, message="HTTP 400: bad id")
DOWN = Bad(trouble=Trouble.SERVER_ERROR, message="HTTP 500: oops")
SLOW = INTERVAL * 30


def statuses(bench: Bench) -> dict[str, str]:
    """Return the status of each task."""
    with bench.sessions() as session:
        return {row.task_id: row.status for row in session.execute(select(SunoTask.task_id, SunoTask.status))}


def batch_of(bench: Bench, task_id: str) -> PollBatch:
    """Return the poll batch of a task."""
    batch_id = bench.task(task_id).poll_batch_id
    (batch,) = (batch for batch in bench.batches() if batch.id == batch_id)
    return batch


def requests(bench: Bench) -> list[tuple[str, ...]]:
    """Return what was asked, and forget it."""
    asked = [ids for _, _, ids in bench.client.asked]
    bench.client.asked.clear()
    return asked


@pytest.mark.parametrize("place", [0, 49, 99])
def test_one_refused_id_spoils_nothing_for_the_other_99(bench: Bench, place: int) -> None:
    """In one claim all others are answered, and the refused one waits in a batch of its own."""
    ids = [f"t{number}" for number in range(100)]
    bench.client.replies = {name: seen(Status.SUCCESS, data="1") for name in ids} | {ids[place]: REFUSED}
    bench.add(*ids)

    counts = bench.poll()

    assert len(requests(bench)) <= 14
    assert (counts["finished"], counts["troubles"], counts["lost"]) == (99, 0, 0)
    assert statuses(bench) == dict.fromkeys(ids, "SUCCESS") | {ids[place]: "SUBMITTED"}
    (batch,) = bench.batches()
    assert batch.id == bench.task(ids[place]).poll_batch_id
    assert (batch.alone, batch.leased_until, batch.claims) == (True, None, 0)
    assert batch.youngest_at == bench.task(ids[place]).enqueued_at
    assert SLOW <= batch.next_poll_at - bench.now <= SLOW * 1.1 + timedelta(minutes=1)
    assert len(bench.deliveries()) == 99
    row = bench.gateway()
    assert (row.failures, row.cooling_until, row.last_error) == (0, None, None)


def test_those_that_go_on_keep_their_batch_and_their_cadence(bench: Bench) -> None:
    """Only the refused id moves; the batch is asked as usual, and may be merged."""
    batch_id = bench.add("a", "b", "c", "d")
    bench.client.replies = {name: seen(Status.IN_PROGRESS) for name in "abd"} | {"c": REFUSED}

    bench.poll()

    assert {bench.task(name).poll_batch_id for name in "abd"} == {batch_id}
    batch = batch_of(bench, "a")
    assert batch.last_polled_at is not None
    assert (batch.alone, batch.leased_until) == (False, None)
    assert INTERVAL <= batch.next_poll_at - batch.last_polled_at <= INTERVAL * 1.1
    assert batch_of(bench, "c").alone


def test_a_refused_id_is_asked_alone_and_rarely_until_it_is_answered(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once; a good answer ends its solitude; the gateway never cools down for it."""
    bench.add("a")
    bench.client.replies = {"a": REFUSED}
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            bench.make_due()
            bench.poll()
            (batch,) = bench.batches()
            assert batch.last_polled_at is not None
            assert batch.alone
            assert SLOW <= batch.next_poll_at - batch.last_polled_at <= SLOW * 1.1
    assert requests(bench) == [("a",)] * 3
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage().split(" ", 3)[3] for record in told] == [
        "task_id='a' fails also when asked alone; it is asked again, rarely: HTTP 400: bad id"
    ]
    assert bench.gateway().failures == 0

    bench.client.replies = {"a": seen(Status.IN_PROGRESS)}
    bench.make_due()
    bench.poll()
    (batch,) = bench.batches()
    assert batch.last_polled_at is not None
    assert not batch.alone
    assert batch.next_poll_at - batch.last_polled_at <= INTERVAL * 1.1


def test_a_refused_id_ends_unheard_after_twice_its_deadline(bench: Bench) -> None:
    """A refusal is no good answer; its receiver is told in the end."""
    bench.add("a", enqueued_at=bench.now - timedelta(hours=48))
    bench.client.replies = {"a": REFUSED}

    bench.poll()

    task = bench.task("a")
    assert (task.status, task.fail_reason) == (
        "FAILURE",
        "worker: unheard: no readable answer within 172800 s",
    )
    assert (len(bench.deliveries()), bench.batches()) == (1, [])


def test_a_gateway_that_refuses_everything_costs_3_requests_and_cools_down(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """As with a wrong base URL: no task is set apart, and nothing is asked before the cool-down is over."""
    ids = [f"t{number}" for number in range(100)]
    batch_id = bench.add(*ids)
    bench.client.replies = dict.fromkeys(ids, REFUSED)

    with caplog.at_level(logging.WARNING):
        counts = bench.poll()
        bench.poll()

    assert [len(asked) for asked in requests(bench)] == [100, 50, 50]
    assert (counts["troubles"], counts["transitions"]) == (1, 0)
    row = bench.gateway()
    assert (row.failures, row.trouble, row.last_error) == (1, "refused", "HTTP 400: bad id")
    assert row.cooling_until is not None
    assert row.cooling_until > bench.now
    (batch,) = bench.batches()
    assert (batch.id, batch.alone, batch.leased_until) == (batch_id, True, None)
    assert {bench.task(name).poll_batch_id for name in ids} == {batch_id}
    (line,) = [record.getMessage() for record in caplog.records]
    assert "check WORKER_GATEWAYS__HUB__BASE_URL and …FETCH" in line


@pytest.mark.parametrize("fetch", list(Fetch))
def test_a_probe_of_such_a_gateway_costs_3_requests_too(bench: Bench, fetch: Fetch) -> None:
    """However often, and also where each id has its own request."""
    ids = [f"t{number}" for number in range(10)]
    bench.add(*ids)
    bench.client.replies = dict.fromkeys(ids, REFUSED)

    for failures in (1, 2, 3):
        bench.make_due()
        bench.poll(bench.polled("hub", fetch=fetch))
        assert len(requests(bench)) <= 3
        assert bench.gateway().failures == failures
    assert len(bench.batches()) == 1


@pytest.mark.parametrize("poison", [{"t3", "t17"}, {"t0", "t1", "t17"}], ids=["apart", "the first two"])
def test_refused_ids_in_both_halves_are_found_in_the_next_turns(bench: Bench, poison: set[str]) -> None:
    """At first they look like the gateway's trouble; with a sign of life of it they are found, one by one.

    The ids for that sign are drawn anew each time, so refused ones at the front cannot hide it for ever.
    """
    ids = [f"t{number}" for number in range(20)]
    bench.add(*ids)
    bench.client.replies = {name: seen(Status.SUCCESS, data="1") for name in ids} | dict.fromkeys(
        poison, REFUSED
    )
    bench.poll()
    assert bench.gateway().failures == 1

    turns = 0
    while set(statuses(bench).values()) != {"SUCCESS", "SUBMITTED"} or len(bench.batches()) != len(poison):
        turns += 1
        assert turns < 30
        bench.make_due()
        requests(bench)
        bench.poll()

    bench.make_due()
    bench.poll()
    assert {name for name, status in statuses(bench).items() if status == "SUBMITTED"} == poison
    assert {batch.alone for batch in bench.batches()} == {True}
    assert bench.gateway().failures == 0


def test_a_single_fetch_goes_on_after_an_id_that_is_refused(bench: Bench) -> None:
    """The request was about one id, so nothing is to be searched."""
    bench.add("a", "b", "c")
    bench.client.replies = {name: seen(Status.SUCCESS, data="1") for name in "ac"} | {"b": REFUSED}

    bench.poll(bench.polled("hub", fetch=Fetch.SINGLE, batch_size=10))

    assert requests(bench) == [("a",), ("b",), ("c",)]
    assert statuses(bench) == {"a": "SUCCESS", "b": "SUBMITTED", "c": "SUCCESS"}
    assert batch_of(bench, "b").alone
    assert bench.gateway().failures == 0


def test_the_lease_is_lengthened_between_the_requests_of_a_search(bench: Bench) -> None:
    """A search takes many requests, and each has the whole timeout."""
    ids = [f"t{number}" for number in range(8)]
    bench.client.replies = {name: seen(Status.SUCCESS, data="1") for name in ids} | {"t0": REFUSED}
    bench.add(*ids)
    leases: list[object] = []

    def wait_for_record() -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            (batch,) = bench.batches()
            if batch.leased_until not in leases:
                leases.append(batch.leased_until)
                return
        raise AssertionError("the lease was not lengthened")

    bench.client.meanwhile = wait_for_record
    bench.poll()

    assert len(leases) == len(requests(bench)) == 7
    assert leases == sorted(leases, key=str)


def test_trouble_in_the_middle_of_a_search_keeps_what_it_found(bench: Bench) -> None:
    """What was answered is recorded, what was refused is set apart, and the rest stays due."""
    batch_id = bench.add("a", "b", "c", "d")
    good = seen(Status.SUCCESS, data="1")
    bench.client.replies = {"a": good, "b": good, "c": REFUSED, "d": DOWN}

    bench.poll()

    assert requests(bench) == [("a", "b", "c", "d"), ("a", "b"), ("c",), ("d",)]
    assert statuses(bench) == {"a": "SUCCESS", "b": "SUCCESS", "c": "SUBMITTED", "d": "SUBMITTED"}
    batch = batch_of(bench, "d")
    assert (batch.id, batch.alone, batch.leased_until) == (batch_id, False, None)
    assert batch.last_polled_at == batch.next_poll_at
    assert batch_of(bench, "c").alone
    assert bench.gateway().trouble == "server_error"


def test_trouble_before_any_good_answer_sets_nothing_apart(bench: Bench) -> None:
    """A gateway that refuses and then fails has given no sign of life."""
    batch_id = bench.add("a", "b", "c")
    bench.client.replies = {"a": REFUSED, "b": DOWN, "c": DOWN}

    bench.poll()

    assert requests(bench) == [("a", "b", "c"), ("a",), ("b", "c")]
    assert [batch.id for batch in bench.batches()] == [batch_id]
    assert bench.gateway().failures == 1


def test_an_answer_after_its_lease_sets_nothing_apart(bench: Bench) -> None:
    """Another worker has claimed the batch since: its claim, not ours, decides."""
    batch_id = bench.add("a", "b")
    bench.client.replies = {"a": seen(Status.SUCCESS, data="1"), "b": REFUSED}

    def take_over() -> None:
        with bench.sessions.begin() as session:
            session.execute(update(PollBatch).values(claims=PollBatch.claims + 1))

    bench.client.meanwhile = take_over
    assert bench.poll()["lost"] in {1, 2, 3}, "asking goes on until the first record is late"
    assert [batch.id for batch in bench.batches()] == [batch_id]
    assert statuses(bench) == {"a": "SUBMITTED", "b": "SUBMITTED"}


def test_a_limit_on_the_size_of_a_request_is_told_with_what_to_do(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """All ids are answered in parts, none is set apart, and one line names the variable."""
    ids = [f"t{number}" for number in range(100)]
    bench.add(*ids)
    bench.client.most_ids = 60

    with caplog.at_level(logging.WARNING):
        bench.poll()

    assert {bench.task(name).absences for name in ids} == {1}
    assert len(bench.batches()) == 1
    assert not batch_of(bench, "t0").alone
    (line,) = [record.getMessage() for record in caplog.records]
    assert "refused 100 ids at once and none of them alone; lower WORKER_GATEWAYS__HUB__BATCH_SIZE" in line


@pytest.mark.parametrize(
    ("status", "kind", "costs"),
    [
        ("400 Bad Request", "application/json", 13),
        ("400 Bad Request", "text/plain", 13),
        ("413 Content Too Large", "application/json", 13),
        ("422 Unprocessable Entity", "application/json", 13),
        ("400 Bad Request", "text/html", 1),
        ("404 Not Found", "application/json", 1),
    ],
)
def test_what_a_real_gateway_refuses_in_json_is_searched(
    real: Bench, status: str, kind: str, costs: int
) -> None:
    """400, 413 and 422, whatever the content type says; a page, or another status, speaks of no id."""
    ids = [f"t{number}" for number in range(64)]
    real.add(*ids)
    asked: list[list[str]] = []
    refusal = b"<html>no</html>" if kind == "text/html" else b'{"code":"invalid_request","message":"bad id"}'

    async def refuse(connection: Connection) -> None:
        while True:
            _, _, body = (await connection.request()).partition(b"\r\n\r\n")
            asked.append(json.loads(body)["ids"])
            rows = [{"task_id": name, "status": "SUCCESS", "data": []} for name in asked[-1]]
            good = json.dumps({"code": "success", "data": rows}).encode()
            refused = answer(refusal, status=status, headers=f"Content-Type: {kind}")
            await connection.send(refused if "t0" in asked[-1] else answer(good))

    with serving(refuse) as url:
        real.poll(real.polled("hub", base_url=url))

    assert len(asked) == costs
    is_searched = costs > 1
    assert len(real.deliveries()) == (63 if is_searched else 0)
    assert (batch_of(real, "t0").alone, real.gateway().trouble is None) == (is_searched, is_searched)
