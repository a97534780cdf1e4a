"""One id that spoils every request with it keeps no other from its end, whatever the gateway says of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.polling import INTERVAL, Bench, seen
from worker.batches import PolledGateway
from worker.core.lifecycle import Status
from worker.core.wire import Bad, Fetch, Trouble
from worker.db.models import PollBatch
from worker.sandbox.faults import Fault, FaultKind
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import hosted
from worker.sandbox.songs import SimulatedTask

SECOND = timedelta(seconds=1)
MINUTE = 60 * SECOND
SONG = 2 * MINUTE
TICK = 15 * SECOND
SLOW = INTERVAL * 30
DONE = seen(Status.SUCCESS, data="1")
GOING_ON = seen(Status.IN_PROGRESS)
DOWN = Bad(trouble=Trouble.SERVER_ERROR, message="HTTP 500: oops")
OF_ONE_ID = [Trouble.SERVER_ERROR, Trouble.ENVELOPE, Trouble.NOT_JSON, Trouble.TOO_LARGE, Trouble.REFUSED]
CASES = [(fetch, trouble) for fetch in Fetch for trouble in OF_ONE_ID] + [(Fetch.SINGLE, Trouble.NOT_FOUND)]
OF_NO_ID = [Trouble.NETWORK, Trouble.TIMEOUT, Trouble.UNAUTHORIZED, Trouble.RATE_LIMITED]


@pytest.fixture(autouse=True)
def clock(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the bench's `now` be the database's time; it stands still, so no run waits for what is due soon."""
    for module in ("poller", "recording"):
        monkeypatch.setattr(f"worker.{module}.read_now", lambda _session: bench.now)
    monkeypatch.setattr("worker.looks.LOOK_EVERY_S", 0.01)


def batch_of(bench: Bench, task_id: str) -> PollBatch:
    """Return the poll batch of a task."""
    batch_id = bench.task(task_id).poll_batch_id
    (batch,) = (batch for batch in bench.batches() if batch.id == batch_id)
    return batch


def asked(bench: Bench) -> list[tuple[str, ...]]:
    """Return what was asked, and forget it."""
    ids = [ids for _, _, ids in bench.client.asked]
    bench.client.asked.clear()
    return ids


def next_turn(bench: Bench, *hub: PolledGateway) -> list[tuple[str, ...]]:
    """Let time pass until something may be asked, and poll; return what was asked."""
    bench.client.asked.clear()
    due = min(batch.next_poll_at for batch in bench.batches())
    bench.now = max(due, bench.gateway().cooling_until or due, bench.now + SECOND)
    bench.poll(*hub)
    return asked(bench)


def songs(bench: Bench, ends: dict[str, datetime], poison: Bad) -> None:
    """Let the gateway answer by the clock, and with trouble whenever it is asked about the poison."""
    said = {name: DONE if end <= bench.now else GOING_ON for name, end in ends.items()}
    bench.client.replies = {**said, "poison": poison}


@pytest.mark.parametrize(
    ("fetch", "trouble"), [*CASES, *[(fetch, one) for fetch in Fetch for one in OF_NO_ID]]
)
def test_sixty_tasks_beside_a_poisonous_one_all_end(bench: Bench, fetch: Fetch, trouble: Trouble) -> None:
    """They are enqueued one after the other, and none waits until its time is over; the poison does.

    Trouble that speaks of no id costs more time, for the gateway is left in peace after each.
    """
    hub = bench.polled("hub", fetch=fetch, batch_size=100 if fetch is Fetch.BATCH else 10)
    poison = Bad(trouble=trouble, message="no")
    begun, ends = bench.now, dict[str, datetime]()
    bench.add("poison")
    while len(ends) < 60 or {bench.task(name).status for name in ends} != {"SUCCESS"}:
        assert bench.now < begun + timedelta(hours=6), "a healthy task is still pending"
        if len(ends) < 60:
            name = f"t{len(ends)}"
            ends[name] = bench.now + SONG
            bench.add(name)
        songs(bench, ends, poison)
        bench.poll(hub)
        bench.now += TICK

    waits = [(bench.task(name).finished_at or bench.now) - end for name, end in ends.items()]
    if trouble not in OF_NO_ID:
        assert max(waits) <= MINUTE
        assert batch_of(bench, "poison").alone
    assert bench.task("poison").status == "SUBMITTED"
    bench.now = begun + timedelta(hours=48)
    for _ in range(2):
        bench.poll(hub)
        bench.now += timedelta(minutes=20)
    assert bench.task("poison").fail_reason.startswith("worker: unheard")
    assert len(bench.deliveries()) == 61


@pytest.mark.parametrize("trouble", [*OF_ONE_ID[:-1], *OF_NO_ID])
def test_a_new_task_never_joins_a_batch_whose_last_answer_was_trouble(bench: Bench, trouble: Trouble) -> None:
    """Nor does such a batch join another, whoever is due first; after good answers they are one."""
    bench.client.replies = {"old": Bad(trouble=trouble, message="no"), "new": GOING_ON, "newer": GOING_ON}
    bench.add("old")
    bench.poll()
    bench.add("new")
    bench.add("newer")

    turns = [ids for _ in range(6) for ids in next_turn(bench)]

    assert {tuple(sorted(ids)) for ids in turns} == {("old",), ("new", "newer")}
    bench.client.replies = dict.fromkeys(["old", "new", "newer"], GOING_ON)
    for _ in range(2):
        bench.now += SLOW * 1.1
        turns = next_turn(bench)
    assert [sorted(ids) for ids in turns] == [["new", "newer", "old"]]


def test_after_an_outage_requests_are_full_again(bench: Bench) -> None:
    """What was tried in vain is asked by itself once; all that was not tried is asked together."""
    ids = [f"t{number}" for number in range(50)]
    for name in ids:
        bench.add(name)
    bench.client.replies = dict.fromkeys(ids, DOWN)
    assert [len(one) for one in (*next_turn(bench), *next_turn(bench), *next_turn(bench))] == [50, 1, 1]
    bench.add("late")
    bench.client.replies = {}

    assert sorted(len(one) for one in next_turn(bench)) == [1, 1, 24, 25]
    assert [len(one) for one in next_turn(bench)] == [51]


def test_a_gateway_that_is_down_is_asked_once_a_turn(bench: Bench) -> None:
    """A page or 500 for everybody is searched by nobody, so an outage brings no more requests than before."""
    ids = [f"t{number}" for number in range(100)]
    bench.add(*ids)
    bench.client.replies = dict.fromkeys(ids, DOWN)

    turns = [next_turn(bench) for _ in range(10)]

    assert [[len(one) for one in turn] for turn in turns] == [[100]] + [[1]] * 9
    assert len({turn[0] for turn in turns}) == 10
    (batch,) = bench.batches()
    assert (batch.alone, bench.gateway().failures) == (False, 10)


def test_a_dead_gateways_whole_batch_ends_unheard(bench: Bench) -> None:
    """Also those that were not asked in the turn that found it dead."""
    bench.add("a", "b", "c", enqueued_at=bench.now - timedelta(hours=47))
    bench.client.replies = dict.fromkeys("abc", DOWN)
    next_turn(bench)
    bench.now += timedelta(hours=1)

    assert [len(ids) for ids in next_turn(bench)] == [1]
    assert {bench.task(name).fail_reason[:15] for name in "abc"} == {"worker: unheard"}


@pytest.mark.parametrize("place", [0, 49, 99])
def test_trouble_about_one_id_is_searched_in_the_turn_after(bench: Bench, place: int) -> None:
    """The first answer costs one request and a cool-down; then the others end, and the poison waits alone."""
    ids = [f"t{number}" for number in range(100)]
    bench.client.replies = dict.fromkeys(ids, DONE) | {ids[place]: DOWN}
    bench.add(*ids)
    assert len(next_turn(bench)) == 1
    assert bench.gateway().trouble == "server_error"

    turn = next_turn(bench)

    assert len(turn) <= 14
    assert len(bench.deliveries()) == 99
    (batch,) = bench.batches()
    assert (batch.size, batch.alone, bench.gateway().trouble) == (1, True, None)
    assert SLOW <= batch.next_poll_at - bench.now <= SLOW * 1.1
    assert next_turn(bench) == [(ids[place],)]
    assert bench.gateway().trouble is None, "a poison that is known is not the gateway's"


@pytest.mark.parametrize("fetch", list(Fetch))
@pytest.mark.parametrize("bad", [DOWN, Bad(trouble=Trouble.REFUSED, message="HTTP 400: bad id")])
def test_ids_that_all_fail_are_separated_once_the_gateway_answers_others(
    bench: Bench, fetch: Fetch, bad: Bad
) -> None:
    """While nobody is answered it may be the gateway; then one after the other is set apart."""
    hub = bench.polled("hub", fetch=fetch, batch_size=10)
    bench.add("p", "q", "r")
    bench.client.replies = dict.fromkeys("pqr", bad) | {"good": GOING_ON}
    bench.poll(hub)
    assert len(bench.batches()) == 1
    bench.add("good")
    for _ in range(20):
        next_turn(bench, hub)

    assert {name: batch_of(bench, name).alone for name in ("p", "q", "r", "good")} == {
        "p": True,
        "q": True,
        "r": True,
        "good": False,
    }
    assert len(bench.batches()) == 4
    bench.now += SLOW
    next_turn(bench, hub)
    assert bench.gateway().failures == 0, "those that are known are not the gateway's"


def test_two_refused_ids_alone_together_are_separated(bench: Bench) -> None:
    """Also where nobody else is asked about, for a refusal is a word about the ids."""
    bench.add("p", "q")
    bench.client.replies = dict.fromkeys("pq", Bad(trouble=Trouble.REFUSED, message="HTTP 400: bad id"))

    assert [len(ids) for ids in next_turn(bench)] == [2, 1, 1]
    assert bench.gateway().failures == 1
    assert [len(ids) for ids in next_turn(bench)] == [1, 1]

    assert batch_of(bench, "p").id != batch_of(bench, "q").id
    assert [batch.alone for batch in bench.batches()] == [True, True]
    assert [*next_turn(bench), *next_turn(bench)] in ([("p",), ("q",)], [("q",), ("p",)])
    assert bench.gateway().failures == 1


def test_an_id_that_makes_its_gateway_hang_waits_once_it_is_alone(bench: Bench) -> None:
    """No answer in time is always the gateway's, but one that was set apart is asked rarely all the same."""
    bench.add("a")
    bench.client.replies = {"a": Bad(trouble=Trouble.REFUSED, message="HTTP 400: bad id")}
    bench.poll()
    bench.client.replies = {"a": Bad(trouble=Trouble.TIMEOUT, message="no answer within 30 s")}
    next_turn(bench)

    (batch,) = bench.batches()
    assert (batch.alone, bench.gateway().trouble) == (True, "timeout")
    assert SLOW <= batch.next_poll_at - bench.now <= SLOW * 1.1


@pytest.mark.parametrize("fetch", list(Fetch))
@pytest.mark.parametrize("kind", [FaultKind.STATUS, FaultKind.HTML, FaultKind.ENVELOPE, FaultKind.TRUNCATED])
def test_a_real_gateways_trouble_about_one_id_is_found(real: Bench, fetch: Fetch, kind: FaultKind) -> None:
    """Over HTTP: the songs beside it end within three turns, and the poison waits alone."""
    sandbox = SandboxGateway(clock=lambda: datetime.now(UTC))
    names = [f"t{number}" for number in range(9)]
    for name in (*names, "poison"):
        song = SimulatedTask(
            task_id=name, action="MUSIC", submitted_at=datetime.now(UTC) - SONG, lasts=timedelta(0)
        )
        sandbox.register(song)
    sandbox.faults.switch_on(Fault(kind=kind, task_ids=("poison",)))
    real.add("poison", *names)

    with hosted(sandbox.app()) as url:
        hub = real.polled("hub", base_url=url, fetch=fetch, batch_size=10)
        for _ in range(3):
            next_turn(real, hub)

    assert {real.task(name).status for name in names} == {"SUCCESS"}
    (batch,) = real.batches()
    assert (batch.alone, batch.size, real.gateway().failures) == (True, 1, 0)
