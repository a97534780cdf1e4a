"""A poller on a real database, and a gateway client that a test steers."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update

from tests.clients.peers import Script, listen
from tests.factory import add_batch, add_gateway, add_task
from worker.asking import Fetches
from worker.batches import PolledGateway
from worker.clients.gateway import GatewayTarget
from worker.clients.portal import Portal
from worker.core.lifecycle import Absent, Action, Limits, Observation, Seen, Status, Times
from worker.core.wire import Bad, Fetch, Good, Reply, Trouble
from worker.db.models import Delivery, Gateway, PollBatch, SunoTask, Transition
from worker.db.session import Sessions
from worker.poller import Poller

LIMITS = Limits(
    task_deadline=timedelta(days=1), missing_grace=timedelta(minutes=5), stuck_after=timedelta(minutes=10)
)
INTERVAL = timedelta(seconds=10)
STARTED_AT = datetime(2026, 11, 21, 11, 59, tzinfo=UTC)


def seen(status: Status | None, *, data: str | None = None, progress: int | None = 0) -> Seen:
    """Return what a gateway says of a task."""
    return Seen(
        status=status,
        upstream_status=(status or "WEIRD").lower(),
        progress=progress,
        fail_reason="",
        times=Times(started_at=STARTED_AT),
        data=data,
    )


@dataclass
class Gateways:
    """A gateway client that answers from a table and notes what it was asked.

    A request that holds an id with a Bad gets that; one with more than `most_ids` is refused. An answer has
    no more than `most_rows`.
    """

    replies: Mapping[str, Observation | Bad] = field(default_factory=dict)
    asked: list[tuple[str, str, tuple[str, ...]]] = field(default_factory=list)
    meanwhile: Callable[[], None] = lambda: None
    most_ids: int = 100
    most_rows: int = 100

    async def fetch(
        self, target: GatewayTarget, *, action: Action, task_ids: Sequence[str]
    ) -> AsyncIterator[tuple[tuple[str, ...], Reply]]:
        """Answer as the real client: one reply for a batch, one for each id of a single fetch."""
        groups = [tuple(task_ids)] if target.fetch is Fetch.BATCH else [(task_id,) for task_id in task_ids]
        for group in groups:
            self.asked.append((target.name, action.value, group))
            self.meanwhile()
            if len(group) > self.most_ids:
                yield group, Bad(trouble=Trouble.REFUSED, message="HTTP 413: too many")
                return
            bad = next((reply for name in group if isinstance(reply := self.replies.get(name), Bad)), None)
            if bad is not None:
                yield group, bad
                return
            rows = [name for name in group if name in self.replies][: self.most_rows]
            found = {name: self.replies[name] if name in rows else Absent() for name in group}
            yield (
                group,
                Good(observations={n: reply for n, reply in found.items() if not isinstance(reply, Bad)}),
            )


def add_due(sessions: Sessions, *task_ids: str, gateway: str, now: datetime, **columns: object) -> int:
    """Insert a batch that is due, with these tasks, enqueued 10 s ago; return its id."""
    values = {"enqueued_at": now - timedelta(seconds=10)} | columns
    with sessions.begin() as session:
        if session.get(Gateway, gateway) is None:
            add_gateway(session, name=gateway)
        batch_id = add_batch(session, gateway=gateway, next_poll_at=now, youngest_at=values["enqueued_at"])
        for task_id in task_ids:
            add_task(session, gateway=gateway, task_id=task_id, poll_batch_id=batch_id, **values)
    return batch_id


@dataclass
class Bench:
    """A poller on a real database with a client that a test steers."""

    sessions: Sessions
    portal: Portal
    client: Gateways = field(default_factory=Gateways)
    real_client: Fetches | None = None
    rings: list[str] = field(default_factory=list)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def polled(
        self,
        name: str,
        *,
        base_url: str = "http://gateway.example",
        fetch: Fetch = Fetch.BATCH,
        batch_size: int = 100,
    ) -> PolledGateway:
        """Return a configured gateway."""
        target = GatewayTarget(
            name=name,
            base_url=base_url,
            api_key="k",
            fetch=fetch,
            auth_header="Authorization",
            auth_prefix="Bearer ",
            timeout=timedelta(seconds=30),
        )
        return PolledGateway(
            target=target, batch_size=batch_size, concurrency=4, cooldown=timedelta(seconds=5)
        )

    def poller(self, *gateways: PolledGateway) -> Poller:
        """Return a new worker's poller of these gateways, or of `hub`."""
        polled = {gateway.target.name: gateway for gateway in gateways or (self.polled("hub"),)}
        return Poller(
            sessions=self.sessions,
            polled=polled,
            limits=LIMITS,
            poll_interval=INTERVAL,
            client=self.real_client or self.client,
            submit=self.portal.submit,
            ring_deliver=lambda: self.rings.append("deliver"),
        )

    def poll(self, *gateways: PolledGateway) -> dict[str, object]:
        """Run a new worker's poller once."""
        poller = self.poller(*gateways)
        return poller.run(stop=threading.Event(), ring_successor=lambda: self.rings.append("poll"))

    def add(self, *task_ids: str, gateway: str = "hub", **columns: object) -> int:
        """Insert a due batch with these tasks, enqueued 10 s ago; return its id."""
        return add_due(self.sessions, *task_ids, gateway=gateway, now=self.now, **columns)

    def make_due(self) -> None:
        """Let every cool-down and every wait be over."""
        with self.sessions.begin() as session:
            session.execute(update(Gateway).values(cooling_until=None))
        for batch in self.batches():
            self._bring_nearer(batch, max(batch.next_poll_at - self.now, timedelta(0)))

    def pass_time(self, passed: timedelta) -> None:
        """Bring every poll nearer by as much as if the time had passed."""
        for batch in self.batches():
            self._bring_nearer(batch, passed)

    def _bring_nearer(self, batch: PollBatch, passed: timedelta) -> None:
        """Move a batch's last poll and its next one, so that what lies between them stays."""
        polled = None if batch.last_polled_at is None else batch.last_polled_at - passed
        values = {"next_poll_at": batch.next_poll_at - passed, "last_polled_at": polled}
        with self.sessions.begin() as session:
            session.execute(update(PollBatch).where(PollBatch.id == batch.id).values(values))

    def task(self, task_id: str) -> SunoTask:
        """Return a task's row."""
        with self.sessions() as session:
            return session.scalars(select(SunoTask).where(SunoTask.task_id == task_id)).one()

    def batches(self) -> list[PollBatch]:
        """Return all poll batches."""
        with self.sessions() as session:
            return list(session.scalars(select(PollBatch)))

    def deliveries(self) -> list[Delivery]:
        """Return the outbox."""
        with self.sessions() as session:
            return list(session.scalars(select(Delivery)))

    def transitions(self) -> list[tuple[str | None, str]]:
        """Return all transitions in their order."""
        with self.sessions() as session:
            rows = session.execute(
                select(Transition.from_status, Transition.to_status).order_by(Transition.id)
            )
            return [(row.from_status, row.to_status) for row in rows]

    def gateway(self, name: str = "hub") -> Gateway:
        """Return a gateway's row."""
        with self.sessions() as session:
            return session.scalars(select(Gateway).where(Gateway.name == name)).one()


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """Serve `script` from an event loop of its own; give its base URL."""
    portal = Portal.start()

    async def begin() -> tuple[AsyncExitStack, int]:
        stack = AsyncExitStack()
        return stack, (await stack.enter_async_context(listen(script))).port

    stack, port = portal.submit(begin()).result()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        portal.submit(stack.aclose()).result()
        portal.close()
