"""What one worker process shares between its threads: database, HTTP clients, poller and dispatcher.

Built with the first task that needs it and never at import, so that importing the tasks opens nothing.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Engine

from worker.batches import PolledGateway
from worker.clients.gateway import GatewayTarget
from worker.clients.pool import Clients, clients, close_clients
from worker.core.lifecycle import Limits
from worker.db import gateways
from worker.db.clock import read_now
from worker.db.session import Sessions, make_engine, make_sessions
from worker.dispatcher import Dispatcher
from worker.library import policy_of
from worker.poller import Poller
from worker.request import Policy
from worker.settings import Settings
from worker.settings.gateway import Gateway

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The parts, wired to each other and to the settings."""

    engine: Engine
    sessions: Sessions
    policy: Policy
    poller: Poller
    dispatcher: Dispatcher
    knows_gateways: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def open(cls, settings: Settings, *, ring_deliver: Callable[[], None]) -> Runtime:
        """Build all parts; the database is not asked yet."""
        engine = make_engine(settings.database_url, by_index=True)
        sessions = make_sessions(engine)
        unsigned = [name for name in settings.gateways if not settings.signing_secrets(gateway=name)]
        if unsigned:
            logger.warning("without WORKER_WEBHOOK_SECRET webhooks go unsigned: %s", ", ".join(unsigned))
        pair = clients(allow=settings.webhook_allow, webhook_timeout=settings.webhook_timeout)
        dispatcher = _dispatcher(settings, sessions=sessions, pair=pair)

        def ring() -> None:
            if not dispatcher.wake():  # no message, which would only have the run look once more, in vain
                ring_deliver()

        return cls(
            engine=engine,
            sessions=sessions,
            policy=policy_of(settings),
            poller=_poller(settings, sessions=sessions, pair=pair, ring_deliver=ring),
            dispatcher=dispatcher,
        )

    def make_gateways_known(self) -> None:
        """Give each configured gateway its row, once; until then nothing of it is claimed."""
        if not self.knows_gateways.is_set():
            self.remember_gateways()
            self.knows_gateways.set()

    def remember_gateways(self) -> None:
        """Note what is configured here; names that no worker notes any more are forgotten."""
        with self.sessions.begin() as session:
            gateways.remember(session, batch_sizes=self.policy.batch_sizes, now=read_now(session))

    def close(self) -> None:
        """Close every connection; what is in flight is cut, its lease ends by itself."""
        close_clients()
        self.engine.dispose()


def target_of(gateway: Gateway) -> GatewayTarget:
    """Return what the HTTP client needs of a gateway's settings."""
    return GatewayTarget(
        name=gateway.name,
        base_url=gateway.base_url,
        api_key=gateway.api_key.get_secret_value(),
        fetch=gateway.fetch,
        auth_header=gateway.auth_header,
        auth_prefix=gateway.auth_prefix,
        timeout=gateway.timeout,
    )


def _poller(
    settings: Settings, *, sessions: Sessions, pair: Clients, ring_deliver: Callable[[], None]
) -> Poller:
    return Poller(
        sessions=sessions,
        polled={name: _polled(gateway) for name, gateway in settings.gateways.items()},
        limits=Limits(
            task_deadline=settings.task_deadline,
            missing_grace=settings.missing_grace,
            stuck_after=settings.stuck_after,
        ),
        poll_interval=settings.poll_interval,
        client=pair.gateway,
        submit=pair.portal.submit,
        ring_deliver=ring_deliver,
    )


def _polled(gateway: Gateway) -> PolledGateway:
    return PolledGateway(
        target=target_of(gateway),
        batch_size=gateway.batch_size,
        concurrency=gateway.concurrency,
        cooldown=gateway.cooldown,
    )


def _dispatcher(settings: Settings, *, sessions: Sessions, pair: Clients) -> Dispatcher:
    return Dispatcher(
        sessions=sessions,
        secrets=functools.cache(lambda gateway: settings.signing_secrets(gateway=gateway)),
        retry_schedule=settings.webhook_retry_schedule,
        timeout=settings.webhook_timeout,
        origin_concurrency=settings.webhook_origin_concurrency,
        client=pair.endpoint,
        submit=pair.portal.submit,
    )
