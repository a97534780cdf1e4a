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

from worker.advice import advice
from worker.core.origins import OriginHealth, after
from worker.core.schedule import cooldown
from worker.core.verdicts import PostOutcome
from worker.core.wire import Good, Reply, Trouble
from worker.db import gateways, origins
from worker.db.gateways import Health
from worker.told import told

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What the outcomes of one record made of an origin."""

    origin: str
    before: OriginHealth
    now: OriginHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """What one answer made of a gateway: its trouble before and now; now None for one that is well again."""

    name: str
    before: str | None
    now: Trouble | None
    message: str = ""
    cooling_until: datetime | None = None


def record_reply(
    session: Session, *, name: str, reply: Reply, base: timedelta, now: datetime
) -> Shift | None:
    """Note how the gateway is; `base` is the first cool-down, which doubles with each probe that fails.

    Answers to requests that were under way when the cool-down began count as one failure with the first.
    Returns, for `log_shift`, what changed; None for a good answer of a gateway that was well.
    """
    if isinstance(reply, Good):
        was_unwell = gateways.record_health(session, name=name, now=now)
        return Shift(name=name, before=None, now=None) if was_unwell else None
    before = gateways.lock(session, name=name) or Health(cooling_until=None, failures=0, trouble=None)
    is_cooling = before.cooling_until is not None and before.cooling_until > now
    failures = before.failures if is_cooling else before.failures + 1
    wait = cooldown(
        trouble=reply.trouble,
        failures=failures,
        base=base,
        retry_after=reply.retry_after,
        jitter=random.random(),  # noqa: S311 - spreads load
    )
    until = max(now + wait, before.cooling_until or now)
    health = Health(cooling_until=until, failures=failures, trouble=reply.trouble.value)
    gateways.record_trouble(session, name=name, health=health, message=reply.message, now=now)
    return Shift(
        name=name, before=before.trouble, now=reply.trouble, message=reply.message, cooling_until=until
    )


def log_shift(shift: Shift) -> None:
    """Tell how a gateway fares: loudly when its key is refused, once when it changes, quietly in between."""
    if shift.now is None or shift.cooling_until is None:
        logger.info(told("gateway_well", "is well again", gateway=shift.name))
        return
    level = logging.ERROR if shift.now is Trouble.UNAUTHORIZED else logging.WARNING
    logger.log(
        level if shift.now != shift.before else logging.INFO,
        told(
            "gateway_trouble",
            f"its tasks stay as they are: {shift.message}; {advice(shift.now, gateway=shift.name)}",
            gateway=shift.name,
            trouble=shift.now,
            cooling_until=shift.cooling_until,
        ),
    )


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
                told(
                    "breaker",
                    breaker="opened",
                    origin=change.origin,
                    failures=now.failures,
                    openings=now.openings,
                    open_until=now.open_until,
                )
            )
        elif before.openings and not now.openings:
            logger.info(
                told(
                    "breaker",
                    breaker="closed",
                    origin=change.origin,
                    failures=before.failures,
                    openings=before.openings,
                )
            )
