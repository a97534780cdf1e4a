"""Answers that come together are recorded together, and each stands or falls by itself."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest
from sqlalchemy import delete, event, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tests.factory import add_delivery
from tests.polling import INTERVAL, LIMITS, Bench, seen
from worker.answers import Answer, Late, write_answers
from worker.attribution import End, Polled
from worker.batches import ClaimedBatch
from worker.core.lifecycle import Observation, Status
from worker.core.wire import Bad, Good, Trouble
from worker.db.clock import read_now
from worker.db.models import PollBatch, SunoTask
from worker.poller import Poller
from worker.release import Pace

DONE = seen(Status.SUCCESS, data='[{"title":"say \\"hi\\"\\n\\u0000"}]', progress=100)
GOING_ON = seen(Status.IN_PROGRESS, progress=40)
PACE = Pace(interval=INTERVAL, lease=timedelta(seconds=75), cooldown=timedelta(seconds=5))


def claim(bench: Bench, *names: str, size: int = 1) -> tuple[Poller, list[ClaimedBatch]]:
    """Claim these tasks, `size` to a batch; the batches come in the order of the names."""
    for start in range(0, len(names), size):
        bench.add(*names[start : start + size])
    poller = bench.poller(bench.polled("hub", batch_size=size))
    batches = poller.claim(free=len(names)).items
    return poller, sorted(batches, key=lambda batch: batch.lease.batch_id)


def good(batch: ClaimedBatch, said: Observation = DONE, *, is_last: bool = True) -> Answer:
    """Return an answer that says the same of every task of a batch."""
    reply = Good(observations=dict.fromkeys(batch.tasks, said))
    return batch, Polled(task_ids=tuple(batch.tasks), reply=reply, end=End() if is_last else None)


def take_over(bench: Bench, batch: ClaimedBatch) -> None:
    """Let another worker have claimed the batch since."""
    taken = update(PollBatch).where(PollBatch.id == batch.lease.batch_id)
    with bench.sessions.begin() as session:
        session.execute(taken.values(claims=PollBatch.claims + 1))


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Note the tasks of each transaction that records answers."""
    noted: list[list[str]] = []

    def write(session: Session, answers: Sequence[Answer], **terms: object) -> object:
        noted.append([name for _, polled in answers for name in polled.task_ids])
        return write_answers(session, answers, **terms)  # type: ignore[arg-type]

    monkeypatch.setattr("worker.recording.write_answers", write)
    return noted


def test_answers_that_come_together_are_one_transaction(bench: Bench, transactions: list[list[str]]) -> None:
    """Each task is written by its own answer, and the dispatcher is rung once."""
    poller, (one, two, three) = claim(bench, "a", "b", "c")

    poller.record([good(one), good(two, GOING_ON), good(three)])

    assert transactions == [["a", "b", "c"]]
    assert [bench.task(name).status for name in "abc"] == ["SUCCESS", "IN_PROGRESS", "SUCCESS"]
    assert (bench.task("a").data, bench.task("b").progress) == (DONE.data, 40)
    assert [batch.id for batch in bench.batches()] == [two.lease.batch_id]
    assert (len(bench.deliveries()), bench.rings) == (2, ["deliver"])


def test_a_transaction_holds_no_more_than_its_measure(
    bench: Bench, transactions: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer is never cut; one that is larger than the measure is a transaction of its own."""
    monkeypatch.setattr("worker.recording.TOGETHER", 3)
    poller, batches = claim(bench, *"abcdef", size=2)
    single, (wide,) = claim(bench, *"wxyz", size=4)

    poller.record([good(one) for one in batches])
    single.record([good(wide), good(wide)])

    assert transactions == [["a", "b"], ["c", "d"], ["e", "f"], [*"wxyz"], [*"wxyz"]]


def test_a_transaction_holds_no_more_text_than_its_measure(
    bench: Bench, transactions: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written together is in memory together, several times over; other words count for nothing."""
    monkeypatch.setattr("worker.recording.TEXT_TOGETHER", 20)
    poller, (a, b, c, d) = claim(bench, *"abcd")
    wide, ten, eleven = (
        seen(Status.SUCCESS, data="[" + "1" * (length - 2) + "]", progress=100) for length in (32, 10, 11)
    )

    poller.record([good(a, wide), good(b, ten), good(c, GOING_ON), good(d, eleven)])

    assert transactions == [["a"], ["b", "c"], ["d"]]
    assert bench.task("a").data == wide.data


def test_a_long_result_is_in_no_json_with_others(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is bound as it is, on either database."""
    monkeypatch.setattr("worker.db.many_rows.LONG", len(DONE.data or ""))
    poller, batches = claim(bench, "a", "b")
    sent: list[dict[str, object]] = []

    def note(_: object, __: object, ___: object, parameters: object, *____: object) -> None:
        sent.extend(one for one in [parameters] if isinstance(one, dict))

    with bench.sessions() as session:
        event.listen(session.get_bind(), "before_cursor_execute", note)
    poller.record([good(one) for one in batches])

    assert [bench.task(name).data for name in "ab"] == [DONE.data] * 2
    assert not [one for one in sent if "say" in str(one.get("rows"))]


def test_late_answers_change_nothing_and_leave_the_others(
    bench: Bench, transactions: list[list[str]]
) -> None:
    """A batch was taken over, one is gone, and one lease ended before an answer that is not its last."""
    poller, (taken, gone, ended, kept) = claim(bench, "a", "b", "c", "d")
    take_over(bench, taken)
    with bench.sessions.begin() as session:
        session.execute(delete(SunoTask).where(SunoTask.task_id == "b"))
        session.execute(delete(PollBatch).where(PollBatch.id == gone.lease.batch_id))
        over = update(PollBatch).where(PollBatch.id == ended.lease.batch_id)
        session.execute(over.values(leased_until=bench.now - timedelta(seconds=1)))

    poller.record([good(taken), good(gone), good(ended, is_last=False), good(kept, is_last=False)])

    assert len(transactions) == 1
    assert [bench.task(name).status for name in "acd"] == ["SUBMITTED", "SUBMITTED", "SUCCESS"]
    assert {delivery.suno_task_id for delivery in bench.deliveries()} == {bench.task("d").id}
    assert [batch.holding.end == float("-inf") for batch in (taken, gone, ended, kept)] == [True] * 3 + [
        False
    ]
    assert poller.run(stop=stopped(), ring_successor=lambda: None)["lost"] == 3


def test_an_answer_that_cannot_be_stored_keeps_only_itself_out(
    bench: Bench, transactions: list[list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """A delivery that is there already breaks its transaction; the others are then recorded by themselves."""
    poller, (one, bad, two) = claim(bench, "a", "b", "c")
    with bench.sessions.begin() as session:
        add_delivery(session, suno_task_id=bench.task("b").id)

    poller.record([good(one), good(bad), good(two)])

    assert transactions == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert [bench.task(name).status for name in "abc"] == ["SUCCESS", "SUBMITTED", "SUCCESS"]
    assert len(bench.deliveries()) == 3
    lost = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(lost) == 1
    assert lost[0].startswith(f"poll batch {bad.lease.batch_id} was not recorded: ")
    assert bad.holding.end == float("-inf")


def test_what_fails_only_together_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or each record would cost twice for ever, and nobody would know."""
    caplog.set_level("INFO")
    fail_for(monkeypatch, OperationalError("UPDATE", {}, Exception("too much\nof it")), most=1)
    poller, batches = claim(bench, "a", "b")

    poller.record([good(one) for one in batches])

    assert [bench.task(name).status for name in "ab"] == ["SUCCESS", "SUCCESS"]
    (told,) = [record.getMessage() for record in caplog.records if record.name == "worker.recording"]
    assert told == "the record of 2 answer(s) failed; each is tried by itself: too much"


def test_a_fault_of_ours_at_one_answer_keeps_only_that_one_out(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run goes on with the others; the traceback is told and the batch is asked again after its lease."""
    fail_for(monkeypatch, ZeroDivisionError("ours"), name="b")
    poller, (one, bad, two) = claim(bench, "a", "b", "c")

    poller.record([good(one), good(bad), good(two)])

    assert [bench.task(name).status for name in "abc"] == ["SUCCESS", "SUBMITTED", "SUCCESS"]
    (told,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert told.getMessage() == f"poll batch {bad.lease.batch_id} was not recorded"
    assert told.exc_info is not None
    assert bad.holding.end == float("-inf")
    assert poller.run(stop=stopped(), ring_successor=lambda: None)["lost"] == 1


def fail_for(
    monkeypatch: pytest.MonkeyPatch, error: Exception, *, most: int = 400, name: str | None = None
) -> None:
    """Let the record of more than `most` answers fail, or of one about the task `name`."""

    def fail(session: Session, answers: Sequence[Answer], **terms: object) -> object:
        if len(answers) > most or any(name in polled.task_ids for _, polled in answers):
            raise error
        return write_answers(session, answers, **terms)  # type: ignore[arg-type]

    monkeypatch.setattr("worker.recording.write_answers", fail)


def test_a_gateways_answers_count_in_their_order(bench: Bench) -> None:
    """Trouble between two good answers begins the cool-down, during which a good one says nothing."""
    poller, (one, two, three) = claim(bench, "a", "b", "c")
    trouble = Polled(
        task_ids=("b",),
        reply=Bad(trouble=Trouble.SERVER_ERROR, message="HTTP 500"),
        is_trouble=True,
        end=End(),
    )

    poller.record([good(one, GOING_ON), (two, trouble), good(three, GOING_ON)])

    assert (bench.gateway().failures, bench.gateway().trouble) == (1, "server_error")
    assert [bench.task(name).status for name in "abc"] == ["IN_PROGRESS", "SUBMITTED", "IN_PROGRESS"]


def test_several_answers_of_one_turn_are_recorded_in_their_order(bench: Bench) -> None:
    """The lease is lengthened, then ended; a batch is deleted with the last of its tasks."""
    poller, (batch,) = claim(bench, "a", "b", size=2)
    answers = [
        (batch, Polled(task_ids=(name,), reply=Good(observations={name: DONE}), end=end))
        for name, end in (("a", None), ("b", End()))
    ]

    poller.record(answers)

    assert [bench.task(name).status for name in "ab"] == ["SUCCESS", "SUCCESS"]
    assert bench.batches() == []


def test_a_batch_that_an_earlier_record_emptied_is_deleted(bench: Bench) -> None:
    """The last answer of its turn ends nothing any more."""
    poller, (batch,) = claim(bench, "a")
    poller.record([good(batch, is_last=False)])
    assert [one.size for one in bench.batches()] == [0]

    poller.record([(batch, Polled(task_ids=(), reply=Good(observations={}), end=End()))])

    assert bench.batches() == []


def test_two_workers_with_the_same_answers_do_not_wait_in_a_ring(bench: Bench) -> None:
    """Each has the other's batches in the opposite order, as after a lease that was taken over."""
    names = [f"t{number}" for number in range(20)]
    _, batches = claim(bench, *names, size=5)
    barrier = threading.Barrier(2)
    failed: list[Exception] = []
    late: list[Late] = []

    def record(order: Sequence[ClaimedBatch], *, progress: int) -> None:
        said = seen(Status.IN_PROGRESS, progress=progress)
        answers = [good(batch, said, is_last=False) for batch in order]
        for _ in range(10):
            barrier.wait()
            try:
                with bench.sessions.begin() as session:
                    now = read_now(session)
                    done = write_answers(session, answers, paces={"hub": PACE}, limits=LIMITS, now=now)
            except Exception as error:  # noqa: BLE001 - whatever it was
                failed.append(error)
            else:
                late.extend(one for one in done.written if isinstance(one, Late))

    orders = {10: batches, 20: batches[::-1]}
    threads = [
        threading.Thread(target=record, args=(order,), kwargs={"progress": progress})
        for progress, order in orders.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (failed, late) == ([], [])
    with bench.sessions() as session:
        assert len(set(session.scalars(select(SunoTask.progress)))) == 1  # all by whoever came first


def stopped() -> threading.Event:
    """Return an event that ends a run at once."""
    event = threading.Event()
    event.set()
    return event
