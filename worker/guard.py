"""One malformed message stops nobody: it is moved aside before Celery or kombu has touched it.

Any service may write to our queues, and Celery 5.7 and kombu 5.7 trust what they find there: a message
without `id`, a body that is not base64, an odd `timelimit`, an item that is not JSON at all end the worker or
make it reconnect for ever, and the message is back in its queue each time (celery#7975). So every item is
judged at the one place that all of them pass, the reply to `BRPOP`. What `worker.messages` finds malformed
goes to the dead-letter list with a reason; to kombu the queue looks empty for a moment. Requests are read by
`worker.safekeeping` instead, which asks the same judge.

Limits: an item is off its queue before it is on the dead-letter list, so a worker killed in that millisecond
takes a malformed message with it. Other brokers than Redis are not guarded.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import kombu
import redis
from celery.events import EventDispatcher
from celery.exceptions import NotRegistered
from celery.worker.consumer import Consumer
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from kombu.transport.virtual import Message as VirtualMessage
from kombu.utils.json import dumps

from worker import dead_letters
from worker.messages import Malformed, check
from worker.reconnecting import look_often
from worker.safekeeping import KeepingChannel, look_regularly
from worker.stale_rings import RINGS, take_ring
from worker.told import told

logger = logging.getLogger(__name__)

# A name that kombu can look up, and show in its "Connected to guarded-redis://…".
GUARDED_REDIS = "guarded-redis"
KEPT_QUEUES = ("enqueue",)  # whose messages carry something
TRANSPORT_ALIASES[GUARDED_REDIS] = f"{__name__}:GuardedTransport"


class GuardedConsumer(Consumer):
    """Celery's consumer over a guarded connection (`worker_consumer` in the app)."""

    # Celery's own attributes, which its published types leave out.
    strategies: dict[str, Any]
    connection_errors: tuple[type[Exception], ...]
    event_dispatcher: EventDispatcher | None

    def connection_for_read(self, heartbeat: float | None = None) -> kombu.Connection:
        """Return the connection that the worker reads its queues from."""
        connection = self.app.connection_for_read(heartbeat=heartbeat)
        if connection.get_transport_cls() is kombu_redis.Transport:
            connection.transport_cls = GUARDED_REDIS
            # A list, because `inspect stats`, and so Flower's page of the worker, tells them in JSON.
            queues = sorted(self.app.amqp.queues)
            own = {"guarded_queues": queues, "kept_queues": KEPT_QUEUES}
            connection.transport_options = {**(connection.transport_options or {}), **own}
        return self.ensure_connected(connection)

    def ensure_connected(self, conn: kombu.Connection) -> kombu.Connection:
        """Wait for the broker, and find it soon when it is back."""
        look_often(conn)
        connected: kombu.Connection = super().ensure_connected(conn)
        return connected

    def update_strategies(self) -> None:
        """Take messages for our own tasks only: Celery's built-in ones run whatever their arguments name."""
        super().update_strategies()
        for name in [name for name in self.strategies if name.startswith("celery.")]:
            del self.strategies[name]
        for name in RINGS & self.strategies.keys():
            self.strategies[name] = functools.partial(take_ring, self.strategies[name])

    def on_unknown_task(self, body: object, message: VirtualMessage, exc: Exception) -> None:
        """Move a message for a task that we do not have aside; a sender that waits for its result is told."""
        del body, exc
        fields = message.headers if "task" in message.headers else message.payload
        name, task_id = fields["task"], fields["id"]
        with cast("GuardedChannel", message.channel).conn_or_acquire() as client:
            _move_aside(
                client,
                message.delivery_info["routing_key"],
                f"there is no task {name!a} here; other services send suno.enqueue",
                dumps(message.serializable()).encode(),
            )
        message.reject_log_error(logger, self.connection_errors)
        try:
            self.app.backend.mark_as_failure(task_id, NotRegistered(name))
        except Exception as error:  # noqa: BLE001  # Celery would take any for a lost broker and connect anew
            logger.warning(
                "the sender of %a [%s] is not told, results cannot be kept: %s", name, task_id, error
            )
        if self.event_dispatcher:
            self.event_dispatcher.send("task-failed", uuid=task_id, exception=f"NotRegistered({name!r})")


class GuardedClient(redis.Redis):
    """A client whose `BRPOP` answers as if a malformed item had not been there."""

    def __init__(self, *, admits: Callable[[str, bytes], bool], **options: Any) -> None:  # noqa: ANN401  # redis-py's own
        super().__init__(**options)
        self._admits = admits

    def parse_response(self, connection: Any, command_name: Any, **options: Any) -> Any:  # noqa: ANN401  # redis-py's own
        """Read one reply; kombu's own key prefix hooks in at the same place."""
        reply = super().parse_response(connection, command_name, **options)  # type: ignore[no-untyped-call]
        if command_name != "BRPOP" or reply is None:
            return reply
        key, item = reply
        return reply if self._admits(key.decode(), item) else None


class GuardedChannel(KeepingChannel):
    """A channel that hands on only what Celery can take."""

    guarded_queues: Sequence[str] = ()  # others are Celery's own: replies of remote control
    from_transport_options = (*KeepingChannel.from_transport_options, "guarded_queues")

    def _get_client(self) -> Callable[..., redis.Redis]:
        super()._get_client()  # type: ignore[misc]  # checks redis-py's version
        return functools.partial(GuardedClient, admits=self._admits)

    def _admits(self, key: str, item: bytes) -> bool:
        queue = key.rsplit(self.sep, 1)[0]  # a priority's list is named after its queue
        if queue not in self.guarded_queues:
            return True
        problem = _problem(queue, item)
        if problem is not None:
            with self.conn_or_acquire() as client:
                _move_aside(client, queue, problem, item)
        return problem is None


class GuardedTransport(kombu_redis.Transport):
    """kombu's Redis transport with the guard in its channels."""

    Channel = GuardedChannel

    def register_with_event_loop(self, connection: kombu.Connection, loop: Any) -> None:  # noqa: ANN401  # kombu's hub
        """Have the kept queues looked after, beside what kombu does itself."""
        super().register_with_event_loop(connection, loop)
        look_regularly(self, loop, judge=_problem, move_aside=_move_aside)


def _problem(queue: str, item: bytes) -> str | None:
    try:
        check(queue=queue, item=item)
    except Malformed as malformed:
        return str(malformed)
    return None


def _move_aside(client: redis.Redis, queue: str, reason: str, item: bytes) -> None:
    letter = dead_letters.add(client, queue=queue, reason=reason, message=item, now=datetime.now(UTC))
    words = f"dead letter: {letter.reason}"
    logger.warning(told("dead_letter", words, dead_letter=letter.id, queue=queue))
