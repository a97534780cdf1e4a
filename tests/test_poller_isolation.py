"""A gateway that misbehaves holds its own slots and nothing else: no batch, thread or claim of others."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from tests.clients.hostile import drip_body, drip_head, endless_body, huge_body, reset_at_once, say_nothing
from tests.clients.peers import Connection, Script, answer
from tests.polling import Bench, seen, serving
from worker.batches import ClaimedBatch, PolledGateway, claim_batches
from worker.core.lifecycle import Status
from worker.looks import Claimed
from worker.sandbox.faults import Fault, FaultKind
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import hosted
from worker.sandbox.songs import SimulatedTask

PATIENCE_S = 20.0  # less than a request's own timeout of 30 s, which a delayed gateway would wait for
SONGS = [f"song{number}" for number in range(20)]


@contextmanager
def working(bench: Bench, script: Script, *, workers: int = 1, **others: str) -> Iterator[None]:
    """Let workers poll `hub`, which runs `script`, and other gateways, each in a thread of its own.

    At the end `hub` cuts its connections, so that the runs end.
    """
    stop = threading.Event()
    threads = []
    with serving(script) as hub:
        for _ in range(workers):
            polled = [
                bench.polled(name, base_url=url, batch_size=2) for name, url in {"hub": hub, **others}.items()
            ]
            run = bench.poller(*polled).run
            threads.append(threading.Thread(target=run, kwargs={"stop": stop, "ring_successor": list}))
            threads[-1].start()
        try:
            yield
        finally:
            stop.set()
    for thread in threads:
        thread.join(timeout=PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture
def songs() -> Iterator[str]:
    """Serve a sandbox gateway where all `SONGS` are finished; give its base URL."""
    sandbox = SandboxGateway(clock=lambda: datetime.now(UTC))
    begun = datetime.now(UTC) - timedelta(minutes=1)
    for name in SONGS:
        sandbox.register(
            SimulatedTask(task_id=name, action="MUSIC", submitted_at=begun, lasts=timedelta(seconds=1))
        )
    with hosted(sandbox.app()) as url:
        yield url


def wait_until(holds: Callable[[], bool]) -> float:
    """Return after how many seconds it holds; fail when it does not in `PATIENCE_S`."""
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < PATIENCE_S
        threading.Event().wait(0.01)
    return time.monotonic() - begun


def finished(bench: Bench) -> int:
    """Return how many songs have ended well."""
    return len(bench.deliveries())


@pytest.mark.parametrize("script", [say_nothing, drip_head, drip_body], ids=lambda one: str(one.__name__))
def test_a_gateway_that_hangs_or_drips_delays_no_other(real: Bench, songs: str, script: Script) -> None:
    """While all its four slots wait for it, twenty songs in ten batches of another end."""
    for number in range(8):
        real.add(f"stuck{number}")
    for number in range(0, len(SONGS), 2):
        real.add(*SONGS[number : number + 2], gateway="good")

    with working(real, script, good=songs):
        wait_until(lambda: finished(real) == len(SONGS))
        leased = [batch.gateway for batch in real.batches() if batch.leased_until is not None]
        row = real.gateway()

    assert (leased, row.failures) == (["hub"] * 4, 0)


@pytest.mark.parametrize("script", [endless_body, huge_body], ids=lambda one: str(one.__name__))
def test_a_gateway_that_floods_delays_no_other(real: Bench, songs: str, script: Script) -> None:
    """Its answers are cut at 32 MiB and cool it down; the other's songs end meanwhile."""
    for number in range(4):
        real.add(f"stuck{number}")
    for number in range(0, len(SONGS), 2):
        real.add(*SONGS[number : number + 2], gateway="good")

    with working(real, script, good=songs):
        wait_until(lambda: finished(real) == len(SONGS))
        wait_until(lambda: real.gateway().trouble is not None)
        row = real.gateway()

    assert (row.trouble, row.last_error) == ("too_large", "the answer is larger than 32 MiB")
    assert {real.task(f"stuck{number}").status for number in range(4)} == {"SUBMITTED"}


def test_one_that_resets_and_one_that_is_not_there_delay_no_other(real: Bench, songs: str) -> None:
    """Network trouble is theirs alone, too."""
    real.add("lost", gateway="bad")
    real.add("gone", gateway="off")
    real.add(*SONGS, gateway="good")

    with serving(reset_at_once) as bad:
        real.poll(
            real.polled("bad", base_url=bad),
            real.polled("off", base_url="http://127.0.0.1:1"),
            real.polled("good", base_url=songs),
        )

    assert finished(real) == len(SONGS)
    assert [real.gateway(name).trouble for name in ("bad", "off", "good")] == ["network", "network", None]


def test_items_that_make_no_sense_are_counted_and_told_once(
    real: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Their tasks stay as they are and are not missing; the line has an excerpt; the others go on."""
    sandbox = SandboxGateway(clock=lambda: datetime.now(UTC))
    for name in ("a", "odd-1", "odd-2"):
        sandbox.register(
            SimulatedTask(
                task_id=name, action="MUSIC", submitted_at=datetime.now(UTC), lasts=timedelta(hours=1)
            )
        )
    sandbox.faults.switch_on(Fault(kind=FaultKind.MALFORMED, task_ids=("odd-*",)))
    real.add("a", "odd-1", "odd-2", absences=1)

    with hosted(sandbox.app()) as url, caplog.at_level(logging.WARNING):
        poller = real.poller(real.polled("hub", base_url=url))
        counts = []
        for _ in range(2):
            real.make_due()
            counts.append(poller.run(stop=threading.Event(), ring_successor=real.rings.clear))

    assert [(one["odd"], one["troubles"], one["transitions"]) for one in counts] == [(2, 0, 0)] * 2
    assert {real.task(name).absences for name in ("a", "odd-1", "odd-2")} == {0}
    (line,) = [record.getMessage() for record in caplog.records]
    assert 'odd answer: cannot be read: {"task_id":"odd-1","status":[42]' in line


def test_a_page_instead_of_an_answer_is_named(real: Bench) -> None:
    """HTML with 200 is what a wrong base URL looks like; the row of the gateway says so."""
    sandbox = SandboxGateway(clock=lambda: datetime.now(UTC))
    sandbox.faults.switch_on(Fault(kind=FaultKind.HTML))
    real.add("a")

    with hosted(sandbox.app()) as url:
        real.poll(real.polled("hub", base_url=url))

    row = real.gateway()
    assert row.trouble == "not_json"
    assert "wrong base URL?" in (row.last_error or "")


def test_a_gateways_limit_holds_over_two_workers(real: Bench) -> None:
    """Twenty batches, two workers, and never more than four requests at once."""
    for number in range(20):
        real.add(f"t{number}", f"u{number}")
    at_once, most, asked = 0, 0, 0
    nothing = answer(json.dumps({"code": "success", "message": "", "data": None}).encode())

    async def count(connection: Connection) -> None:
        nonlocal at_once, most, asked
        while True:
            await connection.request()
            asked += 1
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.05)
            at_once -= 1
            await connection.send(nothing)

    with working(real, count, workers=2):
        wait_until(lambda: all(batch.last_polled_at is not None for batch in real.batches()))

    assert (most, asked) == (4, 20)


def test_claims_take_the_gateways_in_rotation(bench: Bench) -> None:
    """A worker with one free slot serves three gateways in turn, however much is due at each."""
    names = ("a", "b", "c")
    for name in names:
        for number in range(5):
            bench.add(f"{name}{number}", gateway=name)
    poller = bench.poller(*(bench.polled(name, batch_size=1) for name in names))

    claimed = [poller.claim(free=1).items[0].lease.gateway for _ in range(9)]

    assert Counter(claimed) == dict.fromkeys(names, 3)
    assert {*claimed[:3]} == {*names}


def test_a_gateway_whose_slots_are_taken_gives_its_turn_away(bench: Bench) -> None:
    """What it may not ask now, another gateway may."""
    for number in range(9):
        bench.add(f"full{number}", gateway="full")
    bench.add("a", gateway="other")
    poller = bench.poller(bench.polled("full", batch_size=1), bench.polled("other"))

    claimed = Counter(item.lease.gateway for item in poller.claim(free=8).items)

    assert claimed == {"full": 4, "other": 1}


def test_what_was_claimed_before_an_error_is_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway whose claim fails for good leaves no lease of another idle; its own turn raises it."""

    def claim_or_fail(
        session: Session, *, gateway: PolledGateway, free: int, interval: timedelta, now: datetime
    ) -> Claimed[ClaimedBatch]:
        if gateway.target.name == "bad":
            raise IntegrityError("claim", {}, Exception("no such thing"))
        return claim_batches(session, gateway=gateway, free=free, interval=interval, now=now)

    monkeypatch.setattr("worker.poller.claim_batches", claim_or_fail)
    bench.add("a", gateway="good")
    poller = bench.poller(bench.polled("bad"), bench.polled("good"))

    assert [item.lease.gateway for item in poller.claim(free=8).items] == ["good"]
    with pytest.raises(IntegrityError):
        poller.claim(free=8)


def test_old_tasks_do_not_stand_in_the_way_of_new_ones(bench: Bench) -> None:
    """Thirty batches that will never end are asked every five minutes, a new one every ten seconds."""
    old = [f"old{number}" for number in range(30)]
    for name in old:
        bench.add(name, enqueued_at=bench.now - timedelta(hours=5))
    bench.add("new")
    bench.client.replies = {name: seen(Status.IN_PROGRESS) for name in [*old, "new"]}
    hub = bench.polled("hub", batch_size=1)  # so that none is merged with another
    bench.poll(hub)
    assert len(bench.client.asked) == 31

    for _ in range(5):
        bench.client.asked.clear()
        bench.pass_time(timedelta(seconds=12))
        bench.poll(hub)
        assert [ids for _, _, ids in bench.client.asked] == [("new",)]
