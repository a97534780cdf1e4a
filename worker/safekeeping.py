"""A request never leaves the broker before the broker has noted who took it.

kombu takes a message in two steps: `BRPOP` takes it off its list, and a second command, once the process gets
to it, notes it among the unacknowledged. A worker that is killed in between takes the message with it, and
that is no rare moment: while all threads are busy the popped message waits in the worker's socket. With 8
requests a second every second SIGKILL lost one. Doorbells may be lost, a request may not. So the lists of
kept queues are read otherwise: looked at, judged, and moved in one step of the server, off the list and among
the unacknowledged, or not at all when another worker was first.

Limits: a list is looked at 10 times a second, so an idle worker takes a request up to 0.1 s late. It needs
the event loop that Celery uses everywhere but on Windows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.utils.json import dumps, loads

LOOK_EVERY_S = 0.1
MOST_AT_ONCE = 100  # of one look, so that other events of the loop get their turn

# Off the end of the list that BRPOP takes from; then what kombu itself would note: when, what, from where.
TAKE = """
if redis.call('LREM', KEYS[1], -1, ARGV[1]) == 0 then return 0 end
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
return 1
"""

Judge = Callable[[str, bytes], str | None]  # what is wrong with a queue's item, None for nothing
MoveAside = Callable[[redis.Redis, str, str, bytes], None]  # queue, reason, item


class KeepingChannel(kombu_redis.Channel):
    """A channel that takes the messages of `kept_queues` in one step, and all others as kombu does."""

    # kombu's own attributes, which its published types leave out.
    _q_for_pri: Callable[[str, int], str]
    _queue_cycle: Any
    connection_errors: tuple[type[Exception], ...]

    kept_queues: Sequence[str] = ()
    from_transport_options = (*kombu_redis.Channel.from_transport_options, "kept_queues")

    def close(self) -> None:
        """Close, also when the broker is gone.

        kombu reads the look that is open first; where that fails it leaves out all the rest, and the sockets
        of the channel stay open for as long as the process lives.
        """
        try:
            super().close()
        except self.connection_errors:
            super().close()  # the look is not open any more

    def take_kept(self, *, judge: Judge, move_aside: MoveAside) -> None:
        """Hand on what lies in the kept queues, as far as threads are free for it."""
        keys = [key for key in self._kept_keys() if key[0] in self.active_queues]
        for queue, key in keys:
            for _ in range(MOST_AT_ONCE):
                if not self.qos.can_consume() or not self._take_one(queue, key, judge, move_aside):
                    break

    def _take_one(self, queue: str, key: str, judge: Judge, move_aside: MoveAside) -> bool:
        """Take the message that is next, if there is one; False when there is none."""
        with self.conn_or_acquire() as client:
            item: bytes | None = client.lindex(key, -1)
            if item is None:
                return False
            problem = judge(queue, item)
            if problem is not None:
                if client.lrem(key, -1, item):
                    move_aside(client, queue, problem, item)
                return True
            payload = loads(item.decode())
            taken = client.eval(
                TAKE,
                3,
                *(key, self.unacked_index_key, self.unacked_key),
                *(item, time.time(), *_unacknowledged(payload)),
            )
        if taken:
            self.connection._deliver(payload, queue)  # noqa: SLF001 - as kombu's own reader does
        return True

    def _kept_keys(self) -> Iterator[tuple[str, str]]:
        """Name the lists: a queue has one for each priority, the most urgent first."""
        for queue in self.kept_queues:
            for priority in self.priority_steps:
                yield queue, self._q_for_pri(queue, priority)

    def _update_queue_cycle(self) -> None:
        """Leave the kept queues out of `BRPOP`."""
        self._queue_cycle.update([queue for queue in self.active_queues if queue not in self.kept_queues])


def _unacknowledged(payload: dict[str, Any]) -> tuple[str, str]:
    """Return the tag and the note that kombu restores a message from."""
    properties = payload["properties"]
    sent_to = properties["delivery_info"]
    note = dumps([payload, sent_to["exchange"], sent_to["routing_key"]])
    return properties["delivery_tag"], note


def look_regularly(
    transport: kombu_redis.Transport,
    loop: Any,  # noqa: ANN401 - kombu's hub
    *,
    judge: Judge,
    move_aside: MoveAside,
) -> None:
    """Have every channel of the transport look after its kept queues, as long as it is open."""
    poller: Any = transport.cycle

    def look() -> None:
        for channel in list(poller._channels):  # noqa: SLF001 - nobody else knows them
            channel.take_kept(judge=judge, move_aside=move_aside)

    loop.call_repeatedly(LOOK_EVERY_S, look)
