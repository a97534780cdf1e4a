"""A task that ends without a word of its gateway ends for a reason of ours, and its receiver is told."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.clients.peers import answer, answering
from tests.polling import LIMITS, Bench, seen
from worker.clients.gateway import GatewayClient
from worker.core.lifecycle import Absent, Observation, Seen, Status, Times, Unreadable
from worker.core.wire import Bad, Trouble
from worker.db.models import PollBatch, SunoTask

MINUTE = timedelta(minutes=1)
GOING_ON = seen(Status.IN_PROGRESS, progress=50)
STUCK = Seen(
    status=Status.IN_PROGRESS,
    upstream_status="streaming",
    progress=100,
    fail_reason="no credits left",
    times=Times(),
    data=None,
)
DOWN = Bad(trouble=Trouble.SERVER_ERROR, message="HTTP 502: oops")


@contextmanager
def gateway_answering(bench: Bench, task_ids: Sequence[str]) -> Iterator[str]:
    """Serve a real gateway that answers with exactly these rows, whatever it is asked; give its base URL."""
    rows = [{"task_id": name, "status": "IN_PROGRESS", "progress": "10%"} for name in task_ids]
    body = json.dumps({"code": "success", "data": rows}).encode()

    async def begin() -> tuple[AsyncExitStack, int, GatewayClient]:
        stack = AsyncExitStack()
        peer = await stack.enter_async_context(answering(answer(body)))
        return stack, peer.port, GatewayClient()

    async def end(stack: AsyncExitStack, client: GatewayClient) -> None:
        await client.close()
        await stack.aclose()

    stack, port, client = bench.portal.submit(begin()).result()
    bench.real_client = client
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        bench.portal.submit(end(stack, client)).result()


@pytest.mark.parametrize(
    ("age", "observation", "before", "reason"),
    [
        pytest.param(6 * MINUTE, Absent(), {"absences": 2}, "lost: absent in 3 consecutive", id="lost"),
        pytest.param(
            12 * MINUTE,
            STUCK,
            {"stuck_since_at": 11 * MINUTE},
            "stuck: for 600 s streaming at 100 %, with the reason: no credits left",
            id="stuck",
        ),
        pytest.param(
            LIMITS.task_deadline, GOING_ON, {}, "overdue: not finished within 86400 s", id="overdue"
        ),
        pytest.param(
            LIMITS.task_deadline,
            Absent(),
            {},
            "overdue: not finished within 86400 s",
            id="overdue and absent",
        ),
        pytest.param(
            2 * LIMITS.task_deadline, DOWN, {}, "unheard: no readable answer within 172800 s", id="unheard"
        ),
        pytest.param(
            2 * LIMITS.task_deadline,
            Unreadable(excerpt="?"),
            {},
            "unheard: no readable answer within 172800 s",
            id="never readable",
        ),
    ],
)
def test_each_end_of_ours_has_its_reason(
    bench: Bench,
    age: timedelta,
    observation: Observation | Bad,
    before: dict[str, int | timedelta],
    reason: str,
) -> None:
    """FAILURE with `worker: …`, no data, no batch, one transition, and a delivery for its receiver."""
    columns: dict[str, Any] = {
        name: bench.now - value if isinstance(value, timedelta) else value for name, value in before.items()
    }
    bench.add("a", enqueued_at=bench.now - age, **columns)
    bench.client.replies = {"a": observation}

    bench.poll()

    task = bench.task("a")
    assert (task.status, task.data, task.poll_batch_id) == ("FAILURE", None, None)
    assert task.fail_reason.startswith(f"worker: {reason}")
    assert task.finished_at is not None
    assert (bench.transitions(), bench.batches()) == ([("SUBMITTED", "FAILURE")], [])
    assert [delivery.suno_task_id for delivery in bench.deliveries()] == [task.id]
    assert bench.rings == ["deliver"]


@pytest.mark.parametrize(
    ("age", "observation", "before"),
    [
        pytest.param(4 * MINUTE, Absent(), {"absences": 2}, id="absent, within the grace"),
        pytest.param(60 * MINUTE, Absent(), {"absences": 1}, id="absent twice"),
        pytest.param(60 * MINUTE, STUCK, {}, id="stuck for the first time"),
        pytest.param(60 * MINUTE, STUCK, {"stuck_since_at": 9 * MINUTE}, id="stuck for 9 minutes"),
        pytest.param(LIMITS.task_deadline - MINUTE, GOING_ON, {}, id="just before the deadline"),
        pytest.param(2 * LIMITS.task_deadline - MINUTE, DOWN, {}, id="nothing good for nearly two deadlines"),
        pytest.param(
            LIMITS.task_deadline + MINUTE, Unreadable(excerpt="?"), {}, id="overdue, but not readable"
        ),
    ],
)
def test_before_that_a_task_goes_on(
    bench: Bench, age: timedelta, observation: Observation | Bad, before: dict[str, int | timedelta]
) -> None:
    """One absence, minute or good answer less, and nothing ends."""
    columns: dict[str, Any] = {
        name: bench.now - value if isinstance(value, timedelta) else value for name, value in before.items()
    }
    batch_id = bench.add("a", enqueued_at=bench.now - age, **columns)
    bench.client.replies = {"a": observation}

    bench.poll()

    task = bench.task("a")
    assert (task.status in {"SUBMITTED", "IN_PROGRESS"}, task.poll_batch_id) == (True, batch_id)
    assert not task.fail_reason.startswith("worker: ")
    assert (bench.deliveries(), bench.rings) == ([], [])


def test_only_absences_in_a_row_count(bench: Bench) -> None:
    """Trouble of the gateway between two of them counts for neither side; a sight of the task starts anew."""
    bench.add("a", "b", enqueued_at=bench.now - 60 * MINUTE)
    told: list[dict[str, Observation | Bad]] = [
        {"a": Absent(), "b": Absent()},
        {"a": Absent(), "b": GOING_ON},
        {"a": DOWN, "b": DOWN},
        {"a": Absent(), "b": Absent()},
    ]
    for replies in told:
        bench.client.replies = replies
        bench.make_due()
        bench.poll()

    assert bench.task("a").fail_reason.startswith("worker: lost")
    assert (bench.task("b").status, bench.task("b").absences) == ("IN_PROGRESS", 1)


def test_the_grace_ends_at_the_next_absence(bench: Bench) -> None:
    """A task that was absent from the first answer on is kept for the grace, however often it was asked."""
    bench.add("a", enqueued_at=bench.now - MINUTE)
    for _ in range(5):
        bench.make_due()
        bench.poll()
    assert (bench.task("a").status, bench.task("a").absences) == ("SUBMITTED", 3)

    with bench.sessions.begin() as session:
        session.execute(update(SunoTask).values(enqueued_at=bench.now - LIMITS.missing_grace))
    bench.make_due()
    bench.poll()
    assert bench.task("a").fail_reason.startswith("worker: lost")


@pytest.mark.parametrize(("rows", "absences"), [(99, 1), (100, 0), (101, 1)])
def test_a_reply_with_exactly_the_caps_rows_misses_nobody(bench: Bench, rows: int, absences: int) -> None:
    """One-hub sends at most 100 rows, in any order: what is not among them may be behind the cap."""
    ids = [f"t{number}" for number in range(100)]
    bench.add(*ids)
    strangers = [f"stranger{number}" for number in range(rows - 99)]

    with gateway_answering(bench, [*ids[:99], *strangers]) as base_url:
        bench.poll(bench.polled("hub", base_url=base_url))

    assert {bench.task(name).status for name in ids[:99]} == {"IN_PROGRESS"}
    assert (bench.task("t99").status, bench.task("t99").absences) == ("SUBMITTED", absences)


@pytest.mark.parametrize("word", [Status.SUCCESS, Status.FAILURE, Status.IN_PROGRESS])
def test_a_task_that_comes_back_after_our_end_stays_failed(
    bench: Bench, caplog: pytest.LogCaptureFixture, word: Status
) -> None:
    """Another worker ended it while a slow answer was under way: the answer is told and changes nothing."""
    bench.add("a", "b", upstream_status="queued")
    bench.client.replies = {name: seen(word, data="1") for name in "ab"}

    def end_meanwhile() -> None:
        with bench.sessions.begin() as session:
            session.execute(update(PollBatch).values(claims=PollBatch.claims + 1))
            session.execute(
                update(SunoTask)
                .where(SunoTask.task_id == "a")
                .values(
                    status="FAILURE",
                    fail_reason="worker: unheard: x",
                    finished_at=bench.now,
                    poll_batch_id=None,
                )
            )

    bench.client.meanwhile = end_meanwhile
    with caplog.at_level(logging.WARNING):
        assert bench.poll()["lost"] == 1

    task = bench.task("a")
    assert (task.status, task.fail_reason, task.upstream_status, task.data) == (
        "FAILURE",
        "worker: unheard: x",
        "queued",
        None,
    )
    assert (bench.task("b").status, bench.deliveries(), bench.transitions()) == ("SUBMITTED", [], [])
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith(
        f"task_id='a' we ended it, and now the gateway says '{word.lower()}': it stays as it is"
    )
