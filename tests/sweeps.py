"""A worker's claims and records on a clock of the test's own, with no gateway behind them."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from tests.factory import NOW
from worker.batches import ClaimedBatch, PolledGateway, claim_batches
from worker.clients.gateway import GatewayTarget
from worker.core.addresses import Allow
from worker.core.lifecycle import Action, Limits, Seen, Status, Times, advance
from worker.core.schedule import first_poll_delay, next_poll_wait
from worker.core.wire import Fetch
from worker.db import poll_batches
from worker.db.models import PollBatch, SunoTask
from worker.db.session import Sessions
from worker.intake import put_under_watch
from worker.outbox import write_steps
from worker.request import Policy, Request

INTERVAL = timedelta(seconds=10)
TIMEOUT = timedelta(seconds=30)
DAY = timedelta(days=1)
LIMITS = Limits(task_deadline=1000 * DAY, missing_grace=1000 * DAY, stuck_after=1000 * DAY)
WELL = Seen(
    status=Status.SUBMITTED, upstream_status="queued", progress=0, fail_reason="", times=Times(), data=None
)
DONE = Seen(
    status=Status.SUCCESS, upstream_status="done", progress=100, fail_reason="", times=Times(), data="1"
)


@dataclass
class Sweeps:
    """One gateway, its database, and what a worker does with them between two ticks of `now`."""

    sessions: Sessions
    batch_size: int = 100
    concurrency: int = 4
    now: datetime = NOW
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def gateway(self) -> PolledGateway:
        """Return the gateway as the poller has it."""
        target = GatewayTarget(
            name="hub",
            base_url="http://gateway.example",
            api_key="k",
            fetch=Fetch.BATCH,
            auth_header="Authorization",
            auth_prefix="Bearer ",
            timeout=TIMEOUT,
        )
        return PolledGateway(
            target=target,
            batch_size=self.batch_size,
            concurrency=self.concurrency,
            cooldown=timedelta(seconds=5),
        )

    def enqueue(self, count: int, *, action: Action = Action.MUSIC) -> list[str]:
        """Put new tasks under watch in one call; return their ids."""
        policy = Policy(batch_sizes={"hub": self.batch_size}, allow=Allow(), first_poll_delay=INTERVAL)
        names = [f"task-{next(self.numbers)}" for _ in range(count)]
        requests = [Request(task_id=name, action=action.value, gateway="hub") for name in names]
        with self.sessions.begin() as session:
            put_under_watch(session, requests=requests, policy=policy)
            self._enqueue_at(session, names=names, action=action)
        return names

    def _enqueue_at(self, session: Session, *, names: Sequence[str], action: Action) -> None:
        """Set the times that the database's clock gave to those of our own."""
        due = self.now + first_poll_delay(action=action, first_poll_delay=INTERVAL)
        new = select(SunoTask).where(SunoTask.task_id.in_(names))
        for task in session.scalars(new):
            task.enqueued_at = self.now
            batch = session.get_one(PollBatch, task.poll_batch_id)
            batch.next_poll_at, batch.youngest_at = due, self.now

    def claim(self, *, free: int = 4) -> list[ClaimedBatch]:
        """Claim once, in a transaction of its own."""
        with self.sessions.begin() as session:
            claimed = claim_batches(session, gateway=self.gateway, free=free, interval=INTERVAL, now=self.now)
        return list(claimed.items)

    def record(
        self, batch: ClaimedBatch, *, ended: Collection[str] = (), bad: bool = False, jitter: float = 0.0
    ) -> bool:
        """Record an answer in which `ended` are finished; False when the claim is no longer the batch's."""
        lease = batch.lease
        wait = next_poll_wait(age=self.now - lease.youngest_at, interval=INTERVAL, jitter=jitter)
        next_poll_at = self.now if bad else self.now + wait
        with self.sessions.begin() as session:
            held = poll_batches.hold(session, ids=[lease.batch_id]).get(lease.batch_id)
            if held is None or held.claims != lease.claims:
                return False
            answered = poll_batches.Answered(
                lease=lease, next_poll_at=next_poll_at, leased_until=None, alone=False
            )
            poll_batches.write_if_claim_seen(session, answered=[answered], now=self.now)
            steps = [
                (watched, advance(watched.known, DONE, now=self.now, limits=LIMITS))
                for name, watched in batch.tasks.items()
                if name in ended and not bad
            ]
            write_steps(session, steps=steps, now=self.now)
            poll_batches.delete_empty(session, batch_ids=[lease.batch_id])
        return True

    def due(self) -> bool:
        """Say whether a batch is due."""
        with self.sessions() as session:
            return poll_batches.look(session, gateway="hub", now=self.now).is_due

    def check(self) -> None:
        """Assert what must hold after every transaction, whatever came before."""
        with self.sessions() as session:
            count = func.count(SunoTask.id)
            rows = session.execute(
                select(PollBatch, count, func.max(SunoTask.enqueued_at))
                .outerjoin(SunoTask, SunoTask.poll_batch_id == PollBatch.id)
                .group_by(PollBatch.id)
            ).all()
            for batch, tasks, youngest_at in rows:
                assert batch.size == tasks, "the size is exact"
                assert 0 < tasks <= self.batch_size, "no batch is empty or beyond the gateway's size"
                assert youngest_at <= batch.youngest_at, "no task is younger than its batch"
            strays = session.scalars(
                select(SunoTask.task_id)
                .outerjoin(PollBatch, PollBatch.id == SunoTask.poll_batch_id)
                .where(
                    SunoTask.status.in_(("SUBMITTED", "IN_PROGRESS")),
                    PollBatch.id.is_(None)
                    | (PollBatch.gateway != SunoTask.gateway)
                    | (PollBatch.action != SunoTask.action),
                )
            ).all()
            assert strays == [], "every pending task is in a batch of its gateway and action"

    def pending(self, *, action: Action = Action.MUSIC) -> int:
        """Return how many tasks of the group are pending."""
        with self.sessions() as session:
            statement = select(func.coalesce(func.sum(PollBatch.size), 0)).where(
                PollBatch.action == action.value
            )
            return session.scalars(statement).one()
