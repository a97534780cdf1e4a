"""A delivery is claimed, posted and recorded; every attempt has its row and its place in the schedule."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update
from standardwebhooks import Webhook

from tests.factory import HOOK, add_delivery, add_gateway, add_origin, add_task, exchange
from worker.clients.endpoint import Post
from worker.clients.exchange import Exchange
from worker.clients.portal import Portal
from worker.core.schedule import DEFAULT_RETRY_SCHEDULE
from worker.core.verdicts import Answered, Failed, PostError, PostOutcome
from worker.db.models import Attempt, Delivery, Origin
from worker.db.session import Sessions
from worker.dispatcher import SLOTS, Dispatcher
from worker.turns import Terms, claim_deliveries

SECRETS = {"hub": (b"h" * 24,), "other": (b"n" * 24, b"o" * 24)}


@dataclass
class Receivers:
    """An endpoint client that answers in turn and notes what it was sent."""

    outcomes: list[PostOutcome] = field(default_factory=list)
    sent: list[Post] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    waits: Callable[[Post], bool] = lambda _: False
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, post: Post) -> Exchange:
        """Answer 200 when nothing else is left; those that wait only when they may go on."""
        self.sent.append(post)
        self.meanwhile()
        if self.waits(post):
            await self.go_on.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else answer(200)
        return exchange(outcome, body=post.body)


def answer(status_code: int, *, retry_after: str | None = None) -> Answered:
    """Return a receiver's answer."""
    return Answered(status_code=status_code, retry_after=retry_after, excerpt=f"said {status_code}")


@pytest.fixture
def portal() -> Iterator[Portal]:
    """Give an event loop in a thread of its own."""
    portal = Portal.start()
    yield portal
    portal.close()


@dataclass
class Bench:
    """A dispatcher on a real database with a client that a test steers."""

    sessions: Sessions
    portal: Portal
    client: Receivers = field(default_factory=Receivers)
    secrets: Callable[[str], Sequence[bytes]] = SECRETS.__getitem__
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def deliver(self) -> dict[str, object]:
        """Run a dispatcher of its own once."""
        return self.dispatcher().run(stop=threading.Event(), ring_successor=lambda: None)

    def dispatcher(self) -> Dispatcher:
        """Return another worker's dispatcher."""
        return Dispatcher(
            sessions=self.sessions,
            secrets=self.secrets,
            retry_schedule=DEFAULT_RETRY_SCHEDULE,
            timeout=timedelta(seconds=15),
            origin_concurrency=64,
            client=self.client,
            submit=self.portal.submit,
        )

    def deliver_once(self) -> None:
        """Claim, post and record one delivery by hand, as a worker that is then stopped."""
        with self.sessions.begin() as session:
            terms = Terms(lease=timedelta(minutes=1), most=64, reserve=0, chance=0.9)
            (lease,) = claim_deliveries(session, free=1, terms=terms).items
        self.dispatcher().record([(lease, exchange(self.client.outcomes.pop(0)))])

    def add(self, *, gateway: str = "hub", data: str = '{"a":1}', **columns: object) -> str:
        """Insert a due delivery; return its id."""
        with self.sessions.begin() as session:
            row_id = add_task(
                session, gateway=gateway, status="SUCCESS", progress=100, data=data, finished_at=self.now
            )
            return add_delivery(session, suno_task_id=row_id, next_attempt_at=self.now, **columns)

    def row(self, delivery_id: str) -> Delivery:
        """Return a delivery's row."""
        with self.sessions() as session:
            return session.scalars(select(Delivery).where(Delivery.id == delivery_id)).one()

    def attempts(self, delivery_id: str) -> list[Attempt]:
        """Return a delivery's attempts in their order."""
        with self.sessions() as session:
            rows = select(Attempt).where(Attempt.delivery_id == delivery_id).order_by(Attempt.id)
            return list(session.scalars(rows))

    def change(self, **columns: object) -> None:
        """Change all deliveries, as another worker or the operator would."""
        with self.sessions.begin() as session:
            session.execute(update(Delivery).values(**columns))
            session.execute(update(Origin).values(next_claim_at=self.now))


@pytest.fixture
def bench(sessions: Sessions, portal: Portal) -> Bench:
    """Give a dispatcher with nothing to send yet."""
    with sessions.begin() as session:
        add_gateway(session)
        add_gateway(session, name="other")
        add_origin(session)
    return Bench(sessions=sessions, portal=portal)


def test_a_2xx_delivers(bench: Bench) -> None:
    """The delivery ends, and its one attempt says what the receiver said."""
    delivery_id = bench.add()
    counts = bench.deliver()
    assert counts == {"attempts": 1, "delivered": 1, "retried": 0, "discarded": 0, "late": 0}
    row = bench.row(delivery_id)
    assert (row.state, row.attempt_count, row.claims, row.leased_until) == ("DELIVERED", 1, 1, None)
    assert row.delivered_at is not None
    (attempt,) = bench.attempts(delivery_id)
    assert (attempt.number, attempt.status_code, attempt.error) == (1, 200, None)
    assert (attempt.detail, attempt.next_attempt_at) == ("said 200", None)


def test_the_message_is_the_familys_and_verifies(bench: Bench) -> None:
    """The body is the task object with `data` as the gateway wrote it; the public library verifies it."""
    data = '{"b" : 1.0, "a":"\\u00e9\\/"}'
    delivery_id = bench.add(data=data)
    bench.deliver()
    (post,) = bench.client.sent
    assert post.url == HOOK
    assert f'"data":{data}'.encode() in post.body
    assert json.loads(post.body)["status"] == "SUCCESS"
    assert (post.headers["webhook-id"], post.headers["webhook-attempt"]) == (delivery_id, "1")
    secret = base64.b64encode(SECRETS["hub"][0]).decode()
    assert Webhook(secret).verify(post.body, dict(post.headers)) == json.loads(post.body)


def test_each_gateway_signs_with_its_own_secrets(bench: Bench) -> None:
    """During rotation both the old and the new secret verify."""
    bench.add(gateway="other")
    bench.deliver()
    (post,) = bench.client.sent
    for secret in SECRETS["other"]:
        Webhook(base64.b64encode(secret).decode()).verify(post.body, dict(post.headers))


def test_without_a_secret_it_is_sent_unsigned(bench: Bench) -> None:
    """The id and the time are there, the signature is not."""
    bench.secrets = lambda _name: ()
    bench.add()
    bench.deliver()
    (post,) = bench.client.sent
    assert "webhook-signature" not in post.headers
    assert "webhook-timestamp" in post.headers


def test_a_transient_failure_is_tried_again_on_schedule(bench: Bench) -> None:
    """After the first attempt it waits 5 s and up to 1 s more, under the same id and the next number."""
    delivery_id = bench.add()
    bench.client.outcomes = [answer(503), Failed(error=PostError.RESET, detail="reset by peer")]
    assert bench.deliver()["retried"] == 1
    row = bench.row(delivery_id)
    (attempt,) = bench.attempts(delivery_id)
    assert (row.state, row.attempt_count, row.next_attempt_at) == ("PENDING", 1, attempt.next_attempt_at)
    wait = row.next_attempt_at - datetime.now(UTC)
    assert timedelta(seconds=3) < wait <= timedelta(seconds=6)
    bench.change(next_attempt_at=bench.now)
    bench.deliver()
    assert [(a.number, a.status_code, a.error, a.detail) for a in bench.attempts(delivery_id)] == [
        (1, 503, None, "said 503"),
        (2, None, "connection_reset", "reset by peer"),
    ]
    assert {post.headers["webhook-id"] for post in bench.client.sent} == {delivery_id}
    assert [post.headers["webhook-attempt"] for post in bench.client.sent] == ["1", "2"]


def test_the_end_of_the_schedule_discards_with_a_reason(bench: Bench) -> None:
    """The eleventh failed attempt is the last."""
    delivery_id = bench.add(attempt_count=10, claims=10)
    bench.client.outcomes = [answer(500)]
    assert bench.deliver()["discarded"] == 1
    row = bench.row(delivery_id)
    assert (row.state, row.attempt_count) == ("DISCARDED", 11)
    assert row.discard_reason
    assert row.discarded_at is not None


def test_gone_discards_at_once(bench: Bench) -> None:
    """410 means that nobody is there any more."""
    delivery_id = bench.add()
    bench.client.outcomes = [answer(410)]
    bench.deliver()
    assert bench.row(delivery_id).state == "DISCARDED"
    assert len(bench.attempts(delivery_id)) == 1


def test_retry_after_holds_the_delivery(bench: Bench) -> None:
    """A receiver that asks for an hour gets it."""
    delivery_id = bench.add()
    bench.client.outcomes = [answer(429, retry_after="3600")]
    bench.deliver()
    assert bench.row(delivery_id).next_attempt_at >= bench.now + timedelta(hours=1)


@pytest.mark.parametrize("outcome", [answer(500), answer(410)], ids=["transient", "gone"])
def test_a_late_failure_is_logged_and_changes_nothing_else(bench: Bench, outcome: PostOutcome) -> None:
    """Another worker has claimed the delivery since: its outcome decides, ours only counts."""
    delivery_id = bench.add()
    until = bench.now + timedelta(hours=1)
    bench.client.meanwhile = lambda: bench.change(claims=2, leased_until=until, next_attempt_at=until)
    bench.client.outcomes = [outcome]
    assert bench.deliver()["late"] == 1
    row = bench.row(delivery_id)
    assert (row.state, row.claims, row.leased_until, row.next_attempt_at) == ("PENDING", 2, until, until)
    assert row.attempt_count == 1
    assert [attempt.number for attempt in bench.attempts(delivery_id)] == [1]


@pytest.mark.parametrize("state", ["PENDING", "DISCARDED"])
def test_a_late_2xx_always_delivers(bench: Bench, state: str) -> None:
    """The receiver has it, whoever asks."""
    delivery_id = bench.add()
    bench.client.meanwhile = lambda: bench.change(claims=2, state=state, discard_reason="x")
    bench.deliver()
    row = bench.row(delivery_id)
    assert (row.state, row.discard_reason, row.leased_until) == ("DELIVERED", None, None)


def test_a_delivered_one_is_never_left(bench: Bench) -> None:
    """A late failure after another worker's success is an attempt row and nothing else."""
    delivery_id = bench.add()
    bench.client.meanwhile = lambda: bench.change(state="DELIVERED", delivered_at=bench.now)
    bench.client.outcomes = [answer(500)]
    bench.deliver()
    assert (bench.row(delivery_id).state, len(bench.attempts(delivery_id))) == ("DELIVERED", 1)


def test_everything_due_goes_out_in_one_run(bench: Bench) -> None:
    """450 deliveries, more than one claim takes, are sent by one ring."""
    ids = {bench.add() for _ in range(450)}
    assert bench.deliver()["delivered"] == 450
    assert {post.headers["webhook-id"] for post in bench.client.sent} == ids


def test_what_its_receivers_limit_held_back_goes_out_whatever_was_claimed_meanwhile(bench: Bench) -> None:
    """A slow receiver at its limit is not seen by the claims that serve a fast one; its answer is."""
    slow, fast = "https://slow.example", "https://fast.example"
    for host, count in ((slow, 8), (fast, 6)):  # either may be asked 4 times at first
        for _ in range(count):
            bench.add(notify_hook=f"{host}/hook", origin=f"{host}:443")
    bench.client.waits = lambda post: post.url.startswith(slow)

    def let_go() -> None:
        if len(bench.client.sent) == 4 + 6:
            bench.client.go_on.set()

    bench.client.meanwhile = let_go
    assert bench.deliver()["delivered"] == 8 + 6


def test_what_is_held_back_is_remembered_until_a_claim_has_seen_it_go(bench: Bench) -> None:
    """The look that a record is worth may come to nothing, for another process was first: the next is too."""
    for _ in range(20):  # it may be asked 4 times at first
        bench.add()
    one, other = bench.dispatcher(), bench.dispatcher()
    mine = list(one.claim(free=SLOTS).items)

    def record() -> bool:
        return one.record([(mine.pop(), exchange(answer(200)))]).lets_through

    assert record()
    taken = other.claim(free=SLOTS).items
    assert taken
    assert not one.claim(free=SLOTS - len(mine)).items
    assert record()
    assert one.claim(free=SLOTS - len(mine)).items


def test_what_was_held_back_is_forgotten_once_nothing_is_in_flight(bench: Bench) -> None:
    """No record of this process can let anything through then; an origin may never be asked by it again."""
    for _ in range(5):
        bench.add()
    one, other = bench.dispatcher(), bench.dispatcher()
    leases = [*one.claim(free=SLOTS).items]
    other.record([(lease, exchange(answer(200))) for lease in leases])
    other.claim(free=SLOTS)

    one.claim(free=SLOTS)
    assert not one.record([(leases[0], exchange(answer(200)))]).lets_through


def test_a_breaker_that_opens_is_one_line(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """Of twenty results for a receiver that is down, five are tried; the operator is told once."""
    for _ in range(20):
        bench.add()
    bench.client.outcomes = [Failed(error=PostError.REFUSED, detail="")] * 20
    with caplog.at_level("INFO"):
        bench.deliver()
    lines = [record.getMessage() for record in caplog.records if record.name == "worker.health"]
    assert [line.rpartition("=")[0] for line in lines] == [
        "breaker=opened origin=https://receiver.example:443 failures=5 openings=1 open_until"
    ]


def test_the_log_line_has_all_facts_and_no_secret(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The hook's path and query may be a secret of its owner."""
    delivery_id = bench.add(notify_hook="https://receiver.example/p4th?token=s3cret")
    with caplog.at_level("INFO"):
        bench.deliver()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "worker.attempts"]
    assert line.startswith(f"delivery={delivery_id} task_id='task-")
    assert "attempt=1 origin=https://receiver.example:443 answer=200" in line
    assert line.endswith("verdict=delivered")
    assert "s3cret" not in line
    assert "p4th" not in line


def test_workers_share_one_breaker(bench: Bench) -> None:
    """Five refusals that two workers meet between them open it for both; one answer closes it for both."""
    ids = [bench.add() for _ in range(7)]
    refused = Failed(error=PostError.REFUSED, detail="")
    bench.client.outcomes = [refused] * 5
    origin = update(Origin)
    for _ in range(5):  # each time by another worker's dispatcher
        with bench.sessions.begin() as session:
            session.execute(origin.values(concurrency=1, next_claim_at=bench.now))
        bench.deliver_once()
    with bench.sessions() as session:
        found = session.scalars(select(Origin)).one()
        assert (found.failures, found.openings) == (5, 1)
    assert bench.deliver()["attempts"] == 0
    with bench.sessions.begin() as session:
        session.execute(origin.values(open_until=bench.now, next_claim_at=bench.now))
        session.execute(update(Delivery).values(next_attempt_at=bench.now))
    bench.deliver()
    assert {bench.row(name).state for name in ids} == {"DELIVERED"}


def test_retry_after_holds_one_delivery_and_not_its_origin(bench: Bench) -> None:
    """A 429 with an hour's hint keeps that result; the next one for the same receiver goes at once."""
    first = bench.add()
    bench.client.outcomes = [answer(429, retry_after="3600")]
    bench.deliver()
    second = bench.add()
    bench.deliver()
    assert bench.row(first).next_attempt_at >= bench.now + timedelta(hours=1)
    assert (bench.row(first).state, bench.row(second).state) == ("PENDING", "DELIVERED")
