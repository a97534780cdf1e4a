"""A poll batch is claimed, asked and recorded; only a word of the gateway or our own clock ends a task."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select, update

from tests.factory import HOOK, ORIGIN
from tests.polling import INTERVAL, STARTED_AT, Bench, seen
from worker.core.lifecycle import Seen, Status, Times, Unreadable
from worker.core.wire import Bad, Fetch, Trouble
from worker.db.models import Gateway, PollBatch, SunoTask


def test_a_finished_task_and_its_outbox_row_are_written_together(bench: Bench) -> None:
    """The end stores the gateway's own `data` and times, records the transition and owes one delivery."""
    bench.add("a")
    data = '{"z": 1,  "a": "\\u0000\\ud83d"}'
    bench.client.replies = {"a": seen(Status.SUCCESS, data=data, progress=100)}
    counts = bench.poll()
    assert counts == {"polled": 1, "transitions": 1, "finished": 1, "troubles": 0, "odd": 0, "lost": 0}
    task = bench.task("a")
    assert (task.status, task.upstream_status, task.progress, task.data) == ("SUCCESS", "success", 100, data)
    assert (task.poll_batch_id, task.upstream_started_at, task.upstream_finished_at) == (
        None,
        STARTED_AT,
        None,
    )
    assert task.finished_at == task.last_polled_at
    assert bench.transitions() == [("SUBMITTED", "SUCCESS")]
    (delivery,) = bench.deliveries()
    assert (delivery.suno_task_id, delivery.notify_hook, delivery.origin) == (task.id, HOOK, ORIGIN)
    assert (delivery.state, delivery.next_attempt_at, delivery.attempt_count) == (
        "PENDING",
        task.finished_at,
        0,
    )
    assert bench.batches() == []
    assert bench.rings == ["deliver"]


def test_an_unchanged_answer_writes_the_batch_and_no_task(bench: Bench) -> None:
    """The next poll follows the batch's age; the task's row is not touched."""
    bench.add("a", upstream_status="submitted")
    bench.client.replies = {"a": seen(Status.SUBMITTED)}
    assert bench.poll()["transitions"] == 0
    (batch,) = bench.batches()
    assert batch.leased_until is None
    assert batch.claims == 1
    assert batch.last_polled_at is not None
    wait = batch.next_poll_at - batch.last_polled_at
    assert INTERVAL <= wait <= INTERVAL * 1.1
    assert bench.task("a").last_polled_at is None
    assert (bench.transitions(), bench.rings) == ([], [])


def test_a_task_without_a_hook_ends_without_a_delivery(bench: Bench) -> None:
    """It was only watched."""
    bench.add("a", notify_hook=None)
    bench.client.replies = {"a": seen(Status.FAILURE)}
    bench.poll()
    assert bench.task("a").status == "FAILURE"
    assert (bench.deliveries(), bench.rings) == ([], [])


def test_a_task_ends_whatever_its_stored_hook_is(bench: Bench) -> None:
    """A hook that passed earlier rules, and is none by today's, holds up neither its task nor the others."""
    bench.add("a", notify_hook="https://☃.example/")
    bench.add("b")
    bench.client.replies = {name: seen(Status.SUCCESS, data="1") for name in "ab"}
    bench.poll()
    assert {bench.task(name).status for name in "ab"} == {"SUCCESS"}
    assert {row.origin for row in bench.deliveries()} == {"https://%E2%98%83.example:443", ORIGIN}


def test_each_task_of_a_batch_goes_its_own_way(bench: Bench) -> None:
    """One answer may end one task, move another, miss a third and garble a fourth."""
    batch_id = bench.add("end", "move", "miss", "garbled", "odd")
    bench.client.replies = {
        "end": seen(Status.SUCCESS, data="[]"),
        "move": seen(Status.IN_PROGRESS, progress=37),
        "garbled": Unreadable(excerpt="?"),
        "odd": seen(None),
    }
    bench.poll()
    found = {name: bench.task(name) for name in ("end", "move", "miss", "garbled", "odd")}
    assert {name: task.status for name, task in found.items()} == {
        "end": "SUCCESS",
        "move": "IN_PROGRESS",
        "miss": "SUBMITTED",
        "garbled": "SUBMITTED",
        "odd": "SUBMITTED",
    }
    assert [found[name].poll_batch_id for name in found] == [None, *[batch_id] * 4]
    assert (found["miss"].absences, found["move"].progress, found["odd"].upstream_status) == (1, 30, "weird")
    assert found["move"].data is None
    assert sorted(bench.transitions()) == [("SUBMITTED", "IN_PROGRESS"), ("SUBMITTED", "SUCCESS")]


def test_trouble_is_the_gateways_and_no_task_changes(bench: Bench) -> None:
    """A bad answer cools the gateway down for all workers; the batch stays due for the first good moment."""
    bench.add("a", "b", absences=2)
    bench.client.replies = {"a": Bad(trouble=Trouble.SERVER_ERROR, message="500: oops")}
    counts = bench.poll()
    assert (counts["troubles"], counts["transitions"]) == (1, 0)
    assert {bench.task(name).absences for name in "ab"} == {2}
    row = bench.gateway()
    assert (row.failures, row.last_error) == (1, "500: oops")
    assert row.cooling_until is not None
    assert row.last_error_at is not None
    assert timedelta(seconds=5) <= row.cooling_until - row.last_error_at <= timedelta(seconds=10)
    asked = len(bench.client.asked)
    bench.poll()
    assert len(bench.client.asked) == asked


def test_one_probe_heals_a_gateway(bench: Bench) -> None:
    """After the cool-down one batch is asked; its good answer opens the gateway for the others."""
    for name in "abc":
        bench.add(name)
    with bench.sessions.begin() as session:
        session.execute(update(Gateway).values(failures=3, cooling_until=bench.now, last_error="x"))
    bench.client.replies = {name: seen(Status.SUCCESS, data="1") for name in "abc"}
    probing: list[int] = []
    bench.client.meanwhile = lambda: probing.append(
        sum(batch.leased_until is not None for batch in bench.batches())
    )
    bench.poll(bench.polled("hub", batch_size=1))
    assert probing[0] == 1
    assert len(bench.client.asked) == 3
    row = bench.gateway()
    assert (row.failures, row.cooling_until, row.last_error) == (0, None, None)


def test_a_single_fetch_records_each_answer_as_it_comes(bench: Bench) -> None:
    """When the second id cannot be had, the first is recorded and the third waits for the next poll."""
    bench.add("a", "b", "c")
    bench.client.replies = {
        "a": seen(Status.SUCCESS, data="1"),
        "b": Bad(trouble=Trouble.TIMEOUT, message="no answer within 30 s"),
        "c": seen(Status.SUCCESS, data="3"),
    }
    bench.poll(bench.polled("hub", fetch=Fetch.SINGLE, batch_size=10))
    assert [ids for _, _, ids in bench.client.asked] == [("a",), ("b",)]
    assert [bench.task(name).status for name in "abc"] == ["SUCCESS", "SUBMITTED", "SUBMITTED"]
    (batch,) = bench.batches()
    assert batch.leased_until is None


def test_a_batch_larger_than_the_gateway_takes_is_asked_in_parts(bench: Bench) -> None:
    """A batch size that was lowered later holds for old batches too."""
    bench.add("a", "b", "c")
    bench.poll(bench.polled("hub", batch_size=2))
    assert [ids for _, _, ids in bench.client.asked] == [("a", "b"), ("c",)]
    assert {bench.task(name).absences for name in "abc"} == {1}


def test_an_answer_after_its_lease_changes_nothing(bench: Bench) -> None:
    """Another worker has claimed the batch since: its claim, not ours, decides."""
    bench.add("a")

    def take_over() -> None:
        with bench.sessions.begin() as session:
            session.execute(update(PollBatch).values(claims=PollBatch.claims + 1))

    bench.client.meanwhile = take_over
    bench.client.replies = {"a": seen(Status.SUCCESS, data="1")}
    assert bench.poll()["lost"] == 1
    assert bench.task("a").status == "SUBMITTED"
    assert (bench.transitions(), bench.deliveries()) == ([], [])
    (batch,) = bench.batches()
    assert batch.leased_until is not None


def test_the_hook_that_counts_is_the_one_at_the_end(bench: Bench) -> None:
    """A hook that was corrected while the gateway was being asked gets the result."""
    bench.add("a")

    def correct() -> None:
        with bench.sessions.begin() as session:
            session.execute(update(SunoTask).values(notify_hook="https://new.example/"))

    bench.client.meanwhile = correct
    bench.client.replies = {"a": seen(Status.SUCCESS, data="1")}
    bench.poll()
    assert [row.notify_hook for row in bench.deliveries()] == ["https://new.example/"]


def test_gateways_that_are_not_configured_are_left_alone(bench: Bench) -> None:
    """Their batches wait for their configuration to come back."""
    bench.add("a", gateway="gone")
    bench.add("b")
    bench.client.replies = {"b": seen(Status.SUCCESS, data="1")}
    bench.poll()
    assert [name for name, _, _ in bench.client.asked] == ["hub"]
    (batch,) = bench.batches()
    assert (batch.gateway, batch.claims) == ("gone", 0)


def test_no_more_requests_at_once_than_the_gateway_allows(bench: Bench) -> None:
    """Ten due batches are asked four at a time, counted by live leases."""
    for number in range(10):
        bench.add(f"t{number}")
    leased: list[int] = []
    bench.client.meanwhile = lambda: leased.append(
        sum(batch.leased_until is not None for batch in bench.batches())
    )
    bench.poll(bench.polled("hub", batch_size=1))
    assert len(bench.client.asked) == 10
    assert max(leased) <= 4


def test_an_answer_that_skips_states_is_taken(bench: Bench) -> None:
    """SUBMITTED to FAILURE in one step, with the gateway's reason."""
    bench.add("a")
    failed = Seen(
        status=Status.FAILURE,
        upstream_status="failed",
        progress=100,
        fail_reason="moderation",
        times=Times(),
        data="null",
    )
    bench.client.replies = {"a": failed}
    bench.poll()
    assert (bench.task("a").status, bench.task("a").fail_reason) == ("FAILURE", "moderation")
    assert len(bench.deliveries()) == 1


def test_our_own_end_owes_a_delivery_too(bench: Bench) -> None:
    """A task that its gateway has forgotten ends as FAILURE with our reason, and its receiver is told."""
    bench.add("a", absences=2, enqueued_at=bench.now - timedelta(minutes=6))
    bench.poll()
    task = bench.task("a")
    assert task.status == "FAILURE"
    assert task.fail_reason.startswith("worker: ")
    assert task.data is None
    assert len(bench.deliveries()) == 1


def test_nothing_due_costs_no_request(bench: Bench) -> None:
    """An idle run ends at once and rings nobody."""
    bench.add("a")
    with bench.sessions.begin() as session:
        session.execute(update(PollBatch).values(next_poll_at=bench.now + timedelta(hours=1)))
    assert bench.poll()["polled"] == 0
    assert (bench.client.asked, bench.rings) == ([], [])


def test_what_is_due_before_the_next_tick_is_waited_for(bench: Bench) -> None:
    """The run that comes a moment too early asks all the same: at an interval of 1 s half of them do."""
    bench.add("a")
    bench.client.replies = {"a": seen(Status.SUCCESS, data="[]")}
    with bench.sessions.begin() as session:
        session.execute(update(PollBatch).values(next_poll_at=datetime.now(UTC) + timedelta(seconds=0.9)))
    assert bench.poll()["finished"] == 1
    assert len(bench.client.asked) == 1


def test_a_full_gateway_is_left_to_those_who_ask_it(bench: Bench) -> None:
    """Four requests of another worker are in flight: nothing more is claimed, and the run does not wait."""
    for number in range(5):
        bench.add(f"t{number}")
    until = bench.now + timedelta(hours=1)
    with bench.sessions.begin() as session:
        session.execute(update(PollBatch).values(claims=1, leased_until=until, next_poll_at=until))
    bench.poll()
    assert bench.client.asked == []
    assert {batch.claims for batch in bench.batches()} == {1}


def test_an_empty_batch_is_removed(bench: Bench) -> None:
    """A batch without tasks asks nobody and goes."""
    bench.add()
    bench.poll()
    assert (bench.client.asked, bench.batches()) == ([], [])
    with bench.sessions() as session:
        assert session.scalars(select(func.count()).select_from(SunoTask)).one() == 0


def test_trouble_about_one_id_starves_no_other_of_a_single_fetch(bench: Bench) -> None:
    """The gateway answers 500 for one id, always: each claim begins with another one, so all others end."""
    bench.add("poison", "b", "c")
    bench.client.replies = {
        "poison": Bad(trouble=Trouble.SERVER_ERROR, message="HTTP 500"),
        "b": seen(Status.SUCCESS, data="1"),
        "c": seen(Status.SUCCESS, data="2"),
    }
    for _ in range(3):
        bench.poll(bench.polled("hub", fetch=Fetch.SINGLE, batch_size=10))
        with bench.sessions.begin() as session:
            session.execute(update(Gateway).values(cooling_until=None))
            session.execute(update(PollBatch).values(next_poll_at=bench.now))
    assert [bench.task(name).status for name in ("poison", "b", "c")] == ["SUBMITTED", "SUCCESS", "SUCCESS"]
