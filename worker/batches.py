"""Claim poll batches: what is due at one gateway, within that gateway's limit over all workers.

Here is the place for the merging of batches that have thinned out: a claim would fill its request with others
of the same gateway and action.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from worker.clients.gateway import GatewayTarget
from worker.db import gateways, poll_batches, suno_tasks
from worker.db.clock import read_now
from worker.db.poll_batches import Lease
from worker.db.suno_tasks import Watched
from worker.stream import Claimed

LEASE_MARGIN = timedelta(seconds=45)  # beyond the call's own deadline: time to record


@dataclass(frozen=True, slots=True, kw_only=True)
class PolledGateway:
    """A gateway as the poller needs it: where to ask, and how much at once over all workers."""

    target: GatewayTarget
    batch_size: int
    concurrency: int
    cooldown: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedBatch:
    """A poll batch under lease with its tasks."""

    lease: Lease
    tasks: Mapping[str, Watched]


def claim_batches(session: Session, *, gateway: PolledGateway, free: int) -> Claimed[ClaimedBatch]:
    """Take due batches of one gateway, at most `free`, within its limit over all workers."""
    name = gateway.target.name
    health = gateways.lock(session, name=name)
    now = read_now(session)
    if health is None or (health.cooling_until is not None and health.cooling_until > now):
        return Claimed(items=[], more=False)
    in_flight = poll_batches.live_leases(session, gateway=name, now=now)
    # A gateway that failed last is asked once; a good answer opens it for all.
    capacity = 1 if health.failures else gateway.concurrency
    limit = min(capacity - in_flight, free)
    if limit <= 0:
        return Claimed(items=[], more=poll_batches.any_due(session, gateway=name, now=now))
    lease = gateway.target.timeout + LEASE_MARGIN
    leases = poll_batches.claim(session, gateway=name, limit=limit, lease=lease, now=now)
    tasks = suno_tasks.of_batches(session, batch_ids=[lease.batch_id for lease in leases]) if leases else {}
    items = [
        ClaimedBatch(lease=lease, tasks={task.task_id: task for task in tasks[lease.batch_id]})
        for lease in leases
    ]
    return Claimed(items=items, more=len(leases) == limit)
