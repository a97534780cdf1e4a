"""The 17 known weaknesses of new-api's own poller, the closest peer there is; ours has none of them.

Each is shown with the real poller, the real gateway client and a real database against a scripted gateway.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from tests.factory import HOOK
from tests.peer import Say, good, item, scripted
from tests.polling import add_due
from worker.batches import PolledGateway
from worker.clients.endpoint import Post
from worker.clients.exchange import Exchange, Sent, exchange_of
from worker.clients.gateway import GatewayTarget
from worker.clients.passage import Passage
from worker.clients.pool import Clients
from worker.clients.portal import Portal
from worker.core.addresses import Allow
from worker.core.lifecycle import Limits
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE
from worker.core.verdicts import Answered
from worker.core.wire import Fetch
from worker.db.models import Delivery, Gateway, PollBatch, SunoTask
from worker.db.session import Sessions
from worker.dispatcher import Dispatcher
from worker.poller import Poller

LIMITS = Limits(
    task_deadline=timedelta(days=1), missing_grace=timedelta(minutes=5), stuck_after=timedelta(minutes=10)
)
NOT_BEFORE = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def clients() -> Iterator[Clients]:
    """Give the real clients on an event loop of their own."""
    portal = Portal.start()
    clients = Clients.open(portal=portal, allow=Allow.parse([]), webhook_timeout=timedelta(seconds=15))
    yield clients
    clients.close()
    portal.close()


@dataclass
class Receivers:
    """Receivers that take everything."""

    bodies: list[bytes] = field(default_factory=list)

    async def post(self, post: Post) -> Exchange:
        """Answer 200."""
        self.bodies.append(post.body)
        passage = Passage(asked_at=0.0, connected_at=0.0, heard_at=0.01)
        outcome = Answered(status_code=200, retry_after=None, excerpt="")
        return exchange_of(outcome, passage=passage, begun=0.0, end=0.01, sent=Sent.of(post.body))


@dataclass
class Bench:
    """The real poller over gateways that a test scripts."""

    sessions: Sessions
    clients: Clients
    polled: dict[str, PolledGateway] = field(default_factory=dict)
    rings: list[str] = field(default_factory=list)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def configure(
        self, url: str, *, name: str = "hub", key: str = "k", fetch: Fetch = Fetch.BATCH, timeout: float = 30
    ) -> None:
        """Add a gateway."""
        target = GatewayTarget(
            name=name,
            base_url=url,
            api_key=key,
            fetch=fetch,
            auth_header="Authorization",
            auth_prefix="Bearer ",
            timeout=timedelta(seconds=timeout),
        )
        self.polled[name] = PolledGateway(
            target=target, batch_size=100, concurrency=4, cooldown=timedelta(seconds=5)
        )

    def add(self, *task_ids: str, gateway: str = "hub", **columns: object) -> None:
        """Insert a due batch with these tasks, enqueued 10 s ago."""
        add_due(self.sessions, *task_ids, gateway=gateway, now=self.now, **columns)

    def poll(self) -> dict[str, object]:
        """Run the poller once."""
        poller = Poller(
            sessions=self.sessions,
            polled=self.polled,
            limits=LIMITS,
            poll_interval=timedelta(seconds=10),
            client=self.clients.gateway,
            submit=self.clients.portal.submit,
            ring_deliver=lambda: self.rings.append("deliver"),
        )
        return poller.run(stop=threading.Event(), ring_successor=lambda: None)

    def poll_again(self) -> dict[str, object]:
        """Run the poller as if all waits were over."""
        with self.sessions.begin() as session:
            session.execute(update(PollBatch).values(next_poll_at=NOT_BEFORE))
            session.execute(update(Gateway).values(cooling_until=None))
        return self.poll()

    def deliver(self) -> list[bytes]:
        """Run the dispatcher once; return the bodies that receivers got."""
        receivers = Receivers()
        dispatcher = Dispatcher(
            sessions=self.sessions,
            secrets=lambda _: (),
            retry_schedule=DEFAULT_RETRY_SCHEDULE,
            timeout=timedelta(seconds=15),
            origin_concurrency=64,
            client=receivers,
            submit=self.clients.portal.submit,
        )
        dispatcher.run(stop=threading.Event(), ring_successor=lambda: None)
        return receivers.bodies

    def task(self, task_id: str, *, gateway: str = "hub") -> SunoTask:
        """Return a task's row."""
        with self.sessions() as session:
            return session.scalars(
                select(SunoTask).where(SunoTask.task_id == task_id, SunoTask.gateway == gateway)
            ).one()

    def status(self, task_id: str) -> str:
        """Return where a task of `hub` stands."""
        return self.task(task_id).status

    def gateway(self, name: str = "hub") -> Gateway:
        """Return a gateway's row."""
        with self.sessions() as session:
            return session.scalars(select(Gateway).where(Gateway.name == name)).one()

    def deliveries(self) -> list[Delivery]:
        """Return the outbox."""
        with self.sessions() as session:
            return list(session.scalars(select(Delivery)))


@pytest.fixture
def bench(sessions: Sessions, clients: Clients) -> Bench:
    """Give a poller with nothing to do yet."""
    return Bench(sessions=sessions, clients=clients)


def in_turn(*answers: Say) -> Callable[[tuple[str, ...]], Say]:
    """Say one after the other, the last for ever."""
    left = itertools.chain(answers, itertools.repeat(answers[-1]))
    return lambda _: next(left)


def test_01_a_bad_status_backs_off_and_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Theirs skips the batch in silence and asks on; ours waits as the gateway says, and says so."""
    with scripted(lambda _: Say(status=503, headers={"Retry-After": "120"})) as gateway:
        bench.configure(gateway.url)
        bench.add("a")
        with caplog.at_level(logging.INFO):
            bench.poll()
            bench.poll()
    assert len(gateway.asked) == 1
    row = bench.gateway()
    assert row.cooling_until is not None
    assert row.last_error_at is not None
    assert row.cooling_until - row.last_error_at >= timedelta(seconds=120)
    assert "HTTP 503" in (row.last_error or "")
    assert "HTTP 503" in caplog.text
    assert bench.status("a") == "SUBMITTED"


def test_02_a_hung_gateway_stops_nobody(bench: Bench) -> None:
    """Theirs asks without a timeout, one gateway after the other; ours gives up, and asks all at once."""
    with (
        scripted(lambda _: Say(hang=True)) as hung,
        scripted(lambda ids: good(*(item(one, "SUCCESS") for one in ids))) as well,
    ):
        bench.configure(hung.url, name="z-hung", timeout=1)
        bench.configure(well.url)
        bench.add("x", gateway="z-hung")
        bench.add("a")
        bench.poll()
    finished_at, gave_up_at = bench.task("a").finished_at, bench.gateway("z-hung").last_error_at
    assert finished_at is not None
    assert gave_up_at is not None
    assert finished_at < gave_up_at
    assert bench.task("x", gateway="z-hung").status == "SUBMITTED"


def test_03_large_batches_are_asked_in_parts(bench: Bench) -> None:
    """Theirs puts 1,000 ids into one request, of which one-hub answers 100; ours never asks for more."""
    ids = [f"t{number}" for number in range(250)]
    with scripted(lambda ids: good(*(item(one, "SUCCESS") for one in ids[:100]))) as gateway:
        bench.configure(gateway.url)
        bench.add(*ids)
        bench.poll()
    assert [len(asked.ids) for asked in gateway.asked] == [100, 100, 50]
    assert {bench.status(one) for one in (ids[0], ids[100], ids[249])} == {"SUCCESS"}


def test_04_old_tasks_do_not_block_new_ones(bench: Bench) -> None:
    """Theirs asks for the oldest first, at every pass; ours asks old ones ever more rarely."""
    with scripted(
        lambda ids: good(*(item(one, "SUCCESS" if one == "new" else "RUNNING") for one in ids))
    ) as gateway:
        bench.configure(gateway.url)
        for number in range(20):
            bench.add(f"old{number}", enqueued_at=bench.now - timedelta(hours=20))
        bench.add("new")
        bench.poll()
        assert bench.status("new") == "SUCCESS"
        asked = len(gateway.asked)
        bench.poll()
        assert len(gateway.asked) == asked
        bench.poll_again()  # the new one has left the batch that it shared, and with it went its haste
    with bench.sessions() as session:
        waits = [
            batch.next_poll_at - batch.last_polled_at
            for batch in session.scalars(select(PollBatch))
            if batch.last_polled_at is not None
        ]
    assert min(waits) >= timedelta(seconds=300)


def test_05_a_task_that_the_gateway_forgot_ends(bench: Bench) -> None:
    """Theirs waits 24 hours for a missing id; ours three good answers and five minutes, and says why."""
    with scripted(lambda _: Say(body={"code": "success", "data": None})) as gateway:
        bench.configure(gateway.url)
        bench.add("a", enqueued_at=bench.now - timedelta(minutes=6))
        statuses = [bench.status("a") for poll in (bench.poll, bench.poll_again, bench.poll_again) if poll()]
    assert statuses == ["SUBMITTED", "SUBMITTED", "FAILURE"]
    assert bench.task("a").fail_reason == "worker: lost: absent in 3 consecutive answers of the gateway"
    assert len(bench.deliveries()) == 1


def test_06_a_change_is_a_change_of_values(bench: Bench) -> None:
    """Theirs compares sorted bytes, so 12 % and 21 % are the same to it; ours compares values."""
    with scripted(
        in_turn(
            good(item("a", "RUNNING", progress="12%", fail_reason="salt")),
            good(item("a", "RUNNING", progress="21%", fail_reason="last")),
        )
    ) as gateway:
        bench.configure(gateway.url)
        bench.add("a")
        bench.poll()
        assert (bench.task("a").progress, bench.task("a").fail_reason) == (10, "salt")
        bench.poll_again()
    assert (bench.task("a").progress, bench.task("a").fail_reason) == (20, "last")


def test_07_a_reason_is_no_failure(bench: Bench) -> None:
    """Theirs takes a reason for a failure and then never asks again; ours asks on and takes the song."""
    with scripted(
        in_turn(
            good(item("a", "IN_PROGRESS", progress="100%", fail_reason="upload failed, again")),
            good(item("a", "SUCCESS")),
        )
    ) as gateway:
        bench.configure(gateway.url)
        bench.add("a")
        bench.poll()
        assert bench.status("a") == "IN_PROGRESS"
        bench.poll_again()
    assert (bench.status("a"), bench.task("a").fail_reason) == ("SUCCESS", "")


def test_08_a_write_is_guarded_by_what_was_seen(bench: Bench) -> None:
    """Theirs saved whole rows, so a second writer undid the first; ours leaves an end that came meanwhile."""

    def end_meanwhile(_: tuple[str, ...]) -> Say:
        with bench.sessions.begin() as session:
            session.execute(
                update(SunoTask).values(
                    status="FAILURE", fail_reason="another", finished_at=bench.now, poll_batch_id=None
                )
            )
        return good(item("a", "SUCCESS"))

    with scripted(end_meanwhile) as gateway:
        bench.configure(gateway.url)
        bench.add("a")
        bench.poll()
    assert (bench.status("a"), bench.task("a").fail_reason) == ("FAILURE", "another")
    assert bench.deliveries() == []


@pytest.mark.parametrize("submit_time", [4070908800, 4070908800000, 1, 10**30])
def test_09_our_own_clock_rules_the_deadline(bench: Bench, submit_time: int) -> None:
    """Theirs lets the gateway's submit_time move its timeout; ours goes by when we were asked to watch."""
    enqueued_at = bench.now - timedelta(hours=25)
    with scripted(
        lambda ids: good(*(item(one, "IN_PROGRESS", submit_time=submit_time) for one in ids))
    ) as gateway:
        bench.configure(gateway.url)
        bench.add("a", enqueued_at=enqueued_at)
        bench.add("young")
        bench.poll()
    assert bench.status("young") == "IN_PROGRESS"
    task = bench.task("a")
    assert (task.status, task.enqueued_at) == ("FAILURE", enqueued_at)
    assert task.fail_reason == "worker: overdue: not finished within 86400 s"


def test_10_words_of_other_dialects_are_known(bench: Bench) -> None:
    """Theirs stores "completed" and waits a day for "SUCCESS"; ours knows the family's words."""
    words = {"a": "completed", "b": "Failed", "c": "in-progress", "d": "queued", "e": "WARPED"}
    with scripted(lambda ids: good(*(item(one, words[one]) for one in ids))) as gateway:
        bench.configure(gateway.url)
        bench.add(*words)
        counts = bench.poll()
    assert [bench.status(one) for one in words] == [
        "SUCCESS",
        "FAILURE",
        "IN_PROGRESS",
        "SUBMITTED",
        "SUBMITTED",
    ]
    assert [bench.task(one).upstream_status for one in words] == list(words.values())
    assert counts["odd"] == 1


def test_11_one_odd_field_loses_nothing_else(bench: Bench) -> None:
    """Theirs loses the batch to a code that is a number, or to one mistyped field; ours loses one item."""
    odd = {"task_id": "b", "status": ["SUCCESS"], "progress": {}, "submit_time": "soon"}
    with scripted(
        lambda _: Say(body={"code": 200, "data": [item("a", "SUCCESS"), odd, None, item("c", "FAILURE")]})
    ) as gateway:
        bench.configure(gateway.url)
        bench.add("a", "b", "c")
        bench.poll()
    assert [bench.status(one) for one in "abc"] == ["SUCCESS", "SUBMITTED", "FAILURE"]
    assert bench.gateway().failures == 0


def test_12_equal_ids_of_two_gateways_are_two_tasks(bench: Bench) -> None:
    """Theirs mixes up equal ids of two channels; ours knows a task by its gateway and its id."""
    with (
        scripted(lambda _: good(item("a", "SUCCESS", data=["first"]))) as first,
        scripted(lambda _: good(item("a", "FAILURE", fail_reason="second"))) as second,
    ):
        bench.configure(first.url)
        bench.configure(second.url, name="other")
        bench.add("a")
        bench.add("a", gateway="other")
        bench.poll()
    here, there = bench.task("a"), bench.task("a", gateway="other")
    assert (here.status, here.data) == ("SUCCESS", '["first"]')
    assert (there.status, there.fail_reason) == ("FAILURE", "second")


def test_13_a_gateway_that_cannot_be_looked_up_fails_nobody(bench: Bench) -> None:
    """Theirs fails all tasks of a channel that it cannot look up; ours keep until it is there again."""
    bench.add("a")
    bench.poll()
    assert (bench.status("a"), bench.deliveries()) == ("SUBMITTED", [])
    bench.configure("http://nowhere.invalid")
    bench.poll()
    assert (bench.status("a"), bench.gateway().failures) == ("SUBMITTED", 1)
    with scripted(lambda _: good(item("a", "SUCCESS"))) as gateway:
        bench.configure(gateway.url)
        bench.poll_again()
    assert bench.status("a") == "SUCCESS"


def test_14_each_task_is_asked_for_with_its_own_key(bench: Bench) -> None:
    """Theirs asks with whatever key the channel has now; ours with that of the gateway named at enqueue."""
    with scripted(lambda ids: good(*(item(one, "SUCCESS") for one in ids))) as gateway:
        bench.configure(gateway.url, key="one")
        bench.configure(gateway.url, name="same-with-another-key", key="two")
        bench.add("a")
        bench.add("b", gateway="same-with-another-key")
        bench.poll()
    assert sorted((asked.ids, asked.authorization) for asked in gateway.asked) == [
        (("a",), "Bearer one"),
        (("b",), "Bearer two"),
    ]


@pytest.mark.parametrize("fetch", Fetch, ids=str)
def test_15_no_error_is_a_failure(bench: Bench, fetch: Fetch) -> None:
    """Theirs makes a failure of a 401, a 500 or a page; to ours they are the gateway's trouble."""
    failed = {"code": "success", "data": {"task_id": "a", "status": "FAILURE"}}
    answers = [
        *(Say(body=failed, status=status) for status in (401, 403, 429, 500, 502)),
        *(Say(body=b"<html>FAILURE</html>"), Say(body=b""), Say(body=b'{"data": {"task_id": "a", "sta')),
        Say(body={"error": {"message": "FAILURE", "code": "failed"}, "status": "FAILURE"}),
    ]
    with scripted(in_turn(*answers, good(item("a", "SUCCESS")))) as gateway:
        bench.configure(gateway.url, fetch=fetch)
        bench.add("a")
        troubles = [bench.poll_again()["troubles"] for _ in answers]
        assert (bench.status("a"), bench.deliveries()) == ("SUBMITTED", [])
        bench.poll_again()
    assert troubles == [1] * len(answers)
    assert bench.status("a") == "SUCCESS"


def test_16_neither_null_nor_a_stranger_ends_the_polling(bench: Bench) -> None:
    """Theirs dies of an id that it did not ask for, or of null data, until a restart; ours asks on."""
    with scripted(
        in_turn(
            good(item("stranger", "SUCCESS"), None, 7, []),
            Say(body={"code": "success", "data": None}),
            Say(body=b"null"),
            good(item("a", "SUCCESS")),
        )
    ) as gateway:
        bench.configure(gateway.url)
        bench.add("a")
        statuses = [(bench.poll_again(), bench.status("a"))[1] for _ in range(4)]
    assert statuses == ["SUBMITTED", "SUBMITTED", "SUBMITTED", "SUCCESS"]


CLIPS = (
    b'[ {"audio_url":"https://cdn1.suno.ai/None.mp3" ,"status":"streaming"},\n'
    b' {"audio_url":"\\u00e4\\ud83d","n":1.0} ]'
)


@pytest.mark.parametrize(("word", "reason"), [("SUCCESS", ""), ("FAILURE", "one clip failed")])
def test_17_the_result_is_sent_to_its_receiver(bench: Bench, word: str, reason: str) -> None:
    """Theirs tells nobody; ours sends the gateway's `data` on as it is: bad URLs, good clips and all."""
    body = b'{"code":"success","data":[{"task_id":"a","status":"%s","fail_reason":"%s","data":%s}]}'
    with scripted(lambda _: Say(body=body % (word.encode(), reason.encode(), CLIPS))) as gateway:
        bench.configure(gateway.url)
        bench.add("a")
        bench.poll()
    assert bench.rings == ["deliver"]
    assert bench.task("a").data == CLIPS.decode()
    (sent,) = bench.deliver()
    head = (
        f'{{"task_id":"a","notify_hook":"{HOOK}","action":"MUSIC","status":"{word}","fail_reason":"{reason}",'
    )
    assert sent.startswith(head.encode())
    assert sent.endswith(b',"data":' + CLIPS + b"}")


def test_an_oddity_is_logged_once_and_counted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that no one foresaw changes nothing and is told once, not at every request."""
    ids = [f"t{number}" for number in range(3)]
    with scripted(lambda ids: good(*(item(one, "WAR\x1b[31mPED") for one in ids))) as gateway:
        bench.configure(gateway.url)
        for one in ids:
            bench.add(one)
        with caplog.at_level(logging.INFO):
            counts = bench.poll()
    assert (counts["polled"], counts["odd"], counts["transitions"]) == (3, 3, 0)
    told = [record.getMessage() for record in caplog.records if "odd answer" in record.getMessage()]
    assert len(told) == 1
    assert told[0].endswith(r"odd answer: unknown status word: 'WAR\\x1b[31mPED'")
