from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.account import LEASE_S, Account
from tests.chaos.entries import IN_FLIGHT_S, Arrival, Expected, Recorded, Strike
from tests.chaos.ledger import Ledger

DATA = '[{"id":"t-1"}]'
KILLED_AT = 1_000.0  # monotonic seconds
BEFORE, AFTER = KILLED_AT - 1, KILLED_AT + 1
DELIVERED = Recorded(status="SUCCESS", webhook_id="msg_1", state="DELIVERED", taken=frozenset({1}))


def arrival(**changes: object) -> Arrival:
    """Return a good first attempt that came a second before the kill."""
    good = Arrival(
        at=BEFORE,
        task_id="t",
        webhook_id="msg_1",
        attempt=1,
        status="SUCCESS",
        data=DATA,
        body_sha256="abc",
        problem=None,
    )
    return replace(good, **changes)  # type: ignore[arg-type] # by name


def account(
    *arrivals: Arrival, recorded: Recorded | None = DELIVERED, struck: bool = False, answer: int = 200
) -> Account:
    """Return the account of one promised task to which these came; all but those cut off were answered."""
    ledger = Ledger()
    ledger.expect("t", Expected(data=DATA))
    ledger.promise("t")
    for one in arrivals:
        ledger.arrive(one)
        if one.answer is None:
            ledger.answered(one, answer=answer)
        elif one.answer == 0:
            one.answer = None
    if struck:
        ledger.strikes.append(Strike(start=KILLED_AT, end=KILLED_AT))
    return ledger.account({} if recorded is None else {"t": recorded})


def test_one_good_arrival_of_a_recorded_delivery_is_nothing_to_tell() -> None:
    """The books of a quiet day."""
    assert account(arrival()) == Account(tasks=1, duplicates=0, lost=(), wrong=())


@pytest.mark.parametrize(
    ("recorded", "line"),
    [
        (None, "t: not in the database"),
        (Recorded(status="SUBMITTED", webhook_id=None, state=None), "t: SUBMITTED, its delivery is missing"),
        (replace(DELIVERED, state="PENDING"), "t: SUCCESS, its delivery is PENDING"),
        (replace(DELIVERED, state="DISCARDED"), "t: SUCCESS, its delivery is DISCARDED"),
        (DELIVERED, "t: DELIVERED, and never came"),
    ],
)
def test_a_loss_is_counted_wherever_it_happened(recorded: Recorded | None, line: str) -> None:
    """A promised task is lost at the door, at the gateway, in the outbox, or when nothing came at all."""
    assert account(recorded=recorded).lost == (line,)


@pytest.mark.parametrize("answer", [500, 401])
def test_a_result_that_was_not_taken_is_lost(answer: int) -> None:
    """An arrival counts when the receiver said 2xx to it, and not before."""
    assert account(arrival(), answer=answer).lost == ("t: DELIVERED, and never came",)


@pytest.mark.parametrize(
    ("state", "lost"),
    [("DISCARDED", ()), ("DELIVERED", ("t: SUCCESS, its delivery is DELIVERED",))],
)
def test_a_result_that_its_receiver_does_not_want_must_be_given_up(state: str, lost: tuple[str, ...]) -> None:
    """A 410 ends in DISCARDED: one that stands as DELIVERED is as wrong as the other way round."""
    ledger = Ledger()
    ledger.expect("t", Expected(data=DATA, states=frozenset({"DISCARDED"})))
    ledger.promise("t")
    ledger.arrive(refused := arrival())
    ledger.answered(refused, answer=410)

    assert ledger.account({"t": replace(DELIVERED, state=state, taken=frozenset())}).lost == lost


def test_what_was_never_promised_cannot_be_lost() -> None:
    """A task whose enqueue was not acknowledged is expected, and no promise."""
    ledger = Ledger()
    ledger.expect("t", Expected(data=DATA))

    assert ledger.account({}) == Account(tasks=0, duplicates=0, lost=(), wrong=())


def test_a_duplicate_of_an_attempt_in_flight_at_a_kill_is_counted_and_excused() -> None:
    """The worker died after the 200 and before its record: the next attempt is what at least once means."""
    later = arrival(attempt=2, at=AFTER)

    told = account(arrival(), later, recorded=replace(DELIVERED, taken=frozenset({2})), struck=True)

    assert (told.duplicates, told.wrong) == (1, ())


def test_one_that_was_cut_off_before_its_answer_is_a_duplicate_too() -> None:
    """The sender was gone before it could be told: the receiver has it, and gets it again."""
    told = account(arrival(answer=0), arrival(attempt=2), recorded=DELIVERED, struck=False)

    assert told.duplicates == 1
    assert len(told.wrong) == 1


@pytest.mark.parametrize(
    ("struck", "taken", "came"),
    [
        (False, {2}, (BEFORE, AFTER)),
        (True, {1, 2}, (BEFORE, AFTER)),
        (True, {2}, (KILLED_AT - IN_FLIGHT_S - 1, AFTER)),
        (True, {2}, (BEFORE, KILLED_AT - 0.5)),
        (True, {2}, (AFTER, AFTER + 1)),
    ],
    ids=[
        "nothing was killed",
        "the first was recorded",
        "it was long over at the kill",
        "both came before the kill",
        "both came after the kill",
    ],
)
def test_a_duplicate_without_an_excuse_is_wrong(
    struck: bool, taken: set[int], came: tuple[float, float]
) -> None:
    """A second copy is excused by a kill that the first was in flight at and that it came after, and by
    nothing else.
    """
    first, second = arrival(at=came[0]), arrival(attempt=2, at=came[1])

    told = account(first, second, recorded=replace(DELIVERED, taken=frozenset(taken)), struck=struck)

    assert told.duplicates == 1
    assert len(told.wrong) == 1
    assert told.wrong[0].startswith("t: attempt 2 came ")


def test_a_record_that_came_after_its_lease_excuses_the_copy_before_it() -> None:
    """Where the record itself was held up beyond the lease, the row was due again, and rightly."""
    first, second = arrival(), arrival(attempt=2, at=BEFORE + LEASE_S)

    told = account(first, second, recorded=replace(DELIVERED, taken=frozenset({1, 2})), struck=True)

    assert (told.duplicates, told.wrong) == (1, ())


def test_a_retry_after_a_refusal_is_no_duplicate() -> None:
    """A receiver that says 503 gets it again: that is what it asked for."""
    ledger = Ledger()
    ledger.expect("t", Expected(data=DATA))
    ledger.promise("t")
    for attempt, answer in ((1, 503), (2, 200)):
        one = arrival(attempt=attempt)
        ledger.arrive(one)
        ledger.answered(one, answer=answer)

    assert ledger.account({"t": replace(DELIVERED, taken=frozenset({2}))}) == Account(
        tasks=1, duplicates=0, lost=(), wrong=()
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"webhook_id": "msg_2"}, "t: has 2 webhook-ids: msg_1, msg_2"),
        ({"data": "[]"}, "t: attempt 1 carried other data than the gateway's"),
        ({"status": "FAILURE"}, "t: attempt 1 told FAILURE, which is not SUCCESS"),
        ({"problem": "no matching signature"}, "t: attempt 1 was not verified: no matching signature"),
    ],
)
def test_a_wrong_arrival_is_told(changes: dict[str, object], line: str) -> None:
    """An id that is not the delivery's, data that is not the gateway's, a signature that is not ours."""
    assert line in account(arrival(**changes)).wrong


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"attempt": 2, "at": AFTER, "webhook_id": "msg_2"}, "t: has 2 webhook-ids: msg_1, msg_2"),
        ({"attempt": 2, "at": AFTER, "body_sha256": "def"}, "t: came with different bodies"),
        ({"attempt": 1, "at": AFTER}, "t: came with an attempt number twice: [1, 1]"),
    ],
)
def test_a_copy_that_differs_is_wrong_whatever_was_killed(changes: dict[str, object], line: str) -> None:
    """A kill excuses a second copy under the same id with the same body, and nothing else."""
    told = account(
        arrival(), arrival(**changes), recorded=replace(DELIVERED, taken=frozenset({2})), struck=True
    )

    assert told.wrong == (line,)


def test_a_result_that_nobody_enqueued_is_wrong() -> None:
    """Whatever part of the books is asked for."""
    ledger = Ledger()
    stranger = arrival(task_id="stranger")
    ledger.arrive(stranger)
    ledger.answered(stranger, answer=200)

    assert ledger.account({}, of=["t"]).wrong == ("stranger: came, and nobody enqueued it",)
