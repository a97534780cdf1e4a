"""What an answer says of the peer that gave it: gateway or receiver.

Trouble is the gateway's, never its tasks'; after a bad answer nobody asks it until its cool-down is over,
then one batch probes it, and a good answer opens it for all. All of it is in SQL, so every worker keeps to
it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from worker.core.origins import OriginHealth, after
from worker.core.schedule import cooldown
from worker.core.webhook import PostOutcome
from worker.core.wire import Good, Reply
from worker.db import gateways, origins

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the outcomes of one record made of an origin."""

    origin: str
    before: OriginHealth
    now: OriginHealth


def record_reply(session: Session, *, name: str, reply: Reply, base: timedelta, now: datetime) -> None:
    """Note whether the gateway is well; `base` is the first cool-down, which doubles with each bad answer."""
    if isinstance(reply, Good):
        gateways.record_health(session, name=name)
        return
    health = gateways.lock(session, name=name)
    wait = cooldown(
        trouble=reply.trouble,
        failures=1 if health is None else health.failures + 1,
        base=base,
        retry_after=reply.retry_after,
        jitter=random.random(),  # noqa: S311 - spreads load
    )
    gateways.record_trouble(session, name=name, message=reply.message, cooling_until=now + wait, now=now)


def record_outcomes(
    session: Session, *, outcomes: Mapping[str, Sequence[PostOutcome]], most: int, now: datetime
) -> list[Change]:
    """Adapt each origin's limit and breaker to its outcomes, and set when it is looked at next.

    Called after the deliveries themselves have been written, in the same transaction; what it returns is for
    `log_breakers`, when that transaction has been committed.
    """
    before = origins.lock(session, origins=outcomes)
    health: dict[str, OriginHealth] = {}
    for origin, one in before.items():
        health[origin] = one
        for outcome in outcomes[origin]:
            health[origin] = after(health[origin], outcome, most=most, now=now)
    if health:
        not_before = {
            name: now if one.open_until is None else max(now, one.open_until) for name, one in health.items()
        }
        origins.write_health(session, health=health, not_before=not_before, now=now)
    return [Change(origin=origin, before=before[origin], now=one) for origin, one in health.items()]


def log_breakers(changes: Sequence[Change]) -> None:
    """Log each breaker that opened, also after a failed probe, and each that closed: one line each."""
    for change in changes:
        before, now = change.before, change.now
        if now.open_until is not None and now.open_until != before.open_until:
            logger.warning(
                "breaker=opened origin=%s failures=%d openings=%d open_until=%s",
                change.origin,
                now.failures,
                now.openings,
                now.open_until.isoformat(),
            )
        elif before.openings and not now.openings:
            logger.info(
                "breaker=closed origin=%s failures=%d openings=%d",
                change.origin,
                before.failures,
                before.openings,
            )
