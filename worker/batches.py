"""Claim poll batches: what is due at one gateway, within that gateway's limit over all workers.

What `merging` makes of the due batches is leased, each as one request, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from worker.clients.gateway import GatewayTarget
from worker.db import gateways, poll_batches, suno_tasks
from worker.db.claimable import Claimable
from worker.db.poll_batches import Lease
from worker.db.suno_tasks import Watched
from worker.holding import Holding, monotonic
from worker.looks import Claimed
from worker.merging import Merging, merge_due

LEASE_MARGIN = timedelta(seconds=45)  # beyond the call's own deadline: time to record


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledGateway:
    """A gateway as the poller needs it: where to ask, and how much at once over all workers."""

    target: GatewayTarget
    batch_size: int
    concurrency: int
    cooldown: timedelta

    @property
    def lease(self) -> timedelta:
        """How long a claim holds from its beginning, and from each record that is not the last."""
        return self.target.timeout + LEASE_MARGIN


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedBatch:
    """A poll batch under lease with its tasks.

    `doubted`: it was refused, or its last answer was trouble, so one of its ids may be to blame; nothing has
    been merged into it since. `others_answered`: and the gateway has given another batch a good answer since.
    """

    lease: Lease
    tasks: Mapping[str, Watched]
    doubted: bool
    others_answered: bool
    holding: Holding

    @property
    def is_lone(self) -> bool:
        """Whether it is one task that was set apart, because it fails also when asked alone."""
        return self.lease.alone and len(self.tasks) == 1


def claim_batches(
    session: Session, *, gateway: PolledGateway, free: int, interval: timedelta, now: datetime
) -> Claimed[ClaimedBatch]:
    """Take due batches of one gateway, at most `free`, within its limit over all workers.

    `interval` is the time between two polls of the youngest batches.
    """
    name = gateway.target.name
    since = monotonic()
    look = poll_batches.look(session, gateway=name, now=now)
    if not look.is_due:  # an idle gateway costs this one look and no lock
        return Claimed(items=[], more=False, due_in=look.next_in)
    health = gateways.lock(session, name=name)
    if health is None or (health.cooling_until is not None and health.cooling_until > now):
        return Claimed(items=[], more=False)
    in_flight = poll_batches.live_leases(session, gateway=name, now=now)
    # A gateway that failed last is asked once; a good answer opens it for all.
    capacity = 1 if health.failures else gateway.concurrency
    most = min(capacity - in_flight, free)
    if most <= 0:
        return Claimed(items=[], more=True)
    merging = Merging(gateway=name, batch_size=gateway.batch_size, interval=interval, now=now)
    merged = merge_due(session, merging=merging, most=most)
    leases = _lease(session, batches=merged.batches, gateway=gateway, now=now)
    items = [
        ClaimedBatch(
            lease=lease,
            tasks=tasks,
            doubted=batch.doubted,
            others_answered=batch.doubted and not health.failures,
            holding=Holding(since=since, lasts=gateway.lease),
        )
        for batch, (lease, tasks) in zip(merged.batches, leases, strict=True)
    ]
    return Claimed(items=items, more=merged.more, due_in=look.next_in)


def _lease(
    session: Session, *, batches: Sequence[Claimable], gateway: PolledGateway, now: datetime
) -> list[tuple[Lease, dict[str, Watched]]]:
    """Lease batches that this transaction has locked; their age and size become those of their tasks now."""
    if not batches:
        return []
    tasks = suno_tasks.of_batches(session, batch_ids=[batch.id for batch in batches])
    leases = [
        Lease(
            batch_id=batch.id,
            gateway=gateway.target.name,
            action=batch.action,
            claims=batch.claims + 1,
            youngest_at=max((task.known.enqueued_at for task in tasks[batch.id]), default=batch.youngest_at),
            leased_until=now + gateway.lease,
            alone=batch.alone,
        )
        for batch in batches
    ]
    sizes = {batch_id: len(found) for batch_id, found in tasks.items()}
    poll_batches.write_leases(session, leases=leases, sizes=sizes)
    return [(lease, {task.task_id: task for task in tasks[lease.batch_id]}) for lease in leases]
