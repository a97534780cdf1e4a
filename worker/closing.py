"""What is opened to the broker is closed whole, also when the broker is gone.

kombu closes a channel by asking the broker for some last things: the reply to a look that is open, the end of
a queue that nobody listens to any more. Where the broker does not answer, kombu leaves out all the rest; and
as the channel is also noted for the end of the process, its sockets stay open until then. The poller of a
connection stays open until the garbage collector comes by, and a process that does little gives it no cause.
A Beat whose broker was away 34 times held 16 descriptors more.

Limits: a queue that could not be ended stays known to the broker, as after a SIGKILL, until its owner listens
again. Other brokers than Redis are left to kombu.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from celery import Celery
from kombu import Connection
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

# A name that kombu can look up, and show in its "Connected to closing-redis://…".
CLOSING_REDIS = "closing-redis"
TRANSPORT_ALIASES[CLOSING_REDIS] = f"{__name__}:ClosingTransport"


class ClosingChannel(kombu_redis.Channel):
    """A channel that keeps no connection when it is closed."""

    # kombu's own attributes, which its published types leave out.
    auto_delete_queues: set[str]
    connection_errors: tuple[type[Exception], ...]

    def __init__(self, connection: kombu_redis.Transport, **options: Any) -> None:  # noqa: ANN401  # kombu's own
        """Open it as kombu does; one that cannot be opened holds on to nothing."""
        try:
            super().__init__(connection, **options)
        except Exception:
            self.connection = None  # type: ignore[assignment]  # as kombu does at its end
            raise

    def close(self) -> None:
        """Close, without the broker if need be."""
        try:
            super().close()
        except self.connection_errors:
            self.auto_delete_queues.clear()  # the look is not open any more; this was the other question
            with suppress(*self.connection_errors):  # messages in hand: the broker gives them back in time
                super().close()


class ClosingTransport(kombu_redis.Transport):
    """A transport with such channels, that keeps no poller either. kombu opens none that was closed again."""

    Channel = ClosingChannel

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # kombu's own
        """Open it as kombu does."""
        super().__init__(*arguments, **options)
        poller: Any = self.cycle
        self._own_poller = poller.poller  # a worker puts its event loop's in the place, which stays open

    def drain_events(self, connection: Any, timeout: float | None = None, **_: Any) -> None:  # noqa: ANN401  # kombu's own
        """Wait for what is told. One that listens and hears nothing asks at times whether anybody is there.

        kombu asks in an event loop only; elsewhere a connection that fell silent would be listened to for
        hours, and Beat would not answer whether it ticks.
        """
        poller: Any = self.cycle
        poller.maybe_check_subclient_health()
        super().drain_events(connection, timeout)

    def close_connection(self, connection: Any) -> None:  # noqa: ANN401  # kombu's own
        """Close the channels, and the poller that was made for them."""
        try:
            super().close_connection(connection)
        finally:
            self._own_poller.close()


def close_whole(app: Celery) -> None:
    """Have all connections that `app` opens from now on closed whole."""
    for name in ("connection_for_read", "connection_for_write"):
        setattr(app, name, _closing(getattr(app, name)))


def _closing(connect: Callable[..., Connection]) -> Callable[..., Connection]:
    @functools.wraps(connect)
    def connect_closing(*arguments: Any, **options: Any) -> Connection:  # noqa: ANN401  # Celery's own
        connection = connect(*arguments, **options)
        if connection.get_transport_cls() is kombu_redis.Transport:
            connection.transport_cls = CLOSING_REDIS
        return connection

    return connect_closing
