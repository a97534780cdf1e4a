"""A request never leaves the broker before the broker has noted who took it.

kombu takes a message in two steps: `BRPOP` takes it off its list, and a second command, once the process gets
to it, notes it among the unacknowledged. A worker that is killed in between takes the message with it, and
that is no rare moment: while all threads are busy the popped message waits in the worker's socket. With 8
requests a second every second SIGKILL lost one. Doorbells may be lost, a request may not. So the lists of
kept queues are read otherwise: looked at, judged, and moved in one step of the server, off the list and among
the unacknowledged, or not at all when another worker was first.

A look takes as many as there are threads free for, in two round trips. While there are more the next look
follows at once, or with the next acknowledgement if all threads are busy.

How long a message is out is told by the broker's clock: by their own, a worker an hour ahead would give back
what others work on, and what one an hour behind gives back would come an hour late.

Limits: otherwise a list is looked at 10 times a second, so an idle worker takes a request up to 0.1 s late.
It needs the event loop that Celery uses everywhere but on Windows. Doorbells are noted by kombu, with the
time of the worker that took them, and may be given back early or late.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from kombu.utils.json import dumps, loads

from worker.broker_steps import remove, take
from worker.closing import ClosingChannel
from worker.wakening import Wakening

LOOK_EVERY_S = 0.1
MOST_AT_ONCE = 100  # of one look, so that other events of the loop get their turn

Judge = Callable[[str, bytes], str | None]  # what is wrong with a queue's item, None for nothing
MoveAside = Callable[[redis.Redis, str, str, bytes], None]  # queue, reason, item


class KeepingQoS(kombu_redis.QoS):
    """Counts what is with the worker, as kombu does; what is noted with the broker is not noted again."""

    def append(self, message: virtual.Message, delivery_tag: str) -> None:
        """Count a message that is handed on."""
        channel = cast("KeepingChannel", self.channel)
        if delivery_tag in channel.noted:
            channel.noted.discard(delivery_tag)
            virtual.QoS.append(self, message, delivery_tag)
        else:
            super().append(message, delivery_tag)

    @property
    def visibility_timeout(self) -> int:
        """How long a message may be out. kombu takes this off its own clock, which it so corrects."""
        channel = cast("KeepingChannel", self.channel)
        with channel.conn_or_acquire() as client:
            seconds, _ = client.time()
        ahead_s = int(time.time()) - int(seconds)
        return channel.visibility_timeout + ahead_s


class KeepingChannel(ClosingChannel):
    """A channel that takes the messages of `kept_queues` in one step, and all others as kombu does."""

    # kombu's own attributes, which its published types leave out.
    _q_for_pri: Callable[[str, int], str]
    _queue_cycle: Any
    qos: KeepingQoS
    QoS = KeepingQoS

    kept_queues: Sequence[str] = ()
    from_transport_options = (*ClosingChannel.from_transport_options, "kept_queues")

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  # kombu's own
        """Open it as kombu does."""
        self.noted: set[str] = set()  # tags of messages that are on their way to whoever counts them
        self.is_full: Wakening | None = (
            None  # whom an acknowledgement wakes: the last look found no free thread
        )
        super().__init__(*arguments, **options)

    def take_kept(self, *, judge: Judge, move_aside: MoveAside, again: Wakening) -> None:
        """Hand on what lies in the kept queues, as far as threads are free for it."""
        keys = [key for key in self._kept_keys() if key[0] in self.active_queues]
        if not keys:
            return
        self.is_full = again  # before it is looked: whoever acknowledges from here on is heard
        free = self._free()
        if not free:
            return
        self.is_full = None
        if self._take(keys, free, judge, move_aside):
            again.wake()

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:  # noqa: FBT001, FBT002  # kombu's own
        """Acknowledge a message, from any thread, and have the free thread seen."""
        super().basic_ack(delivery_tag, multiple=multiple)
        waiting = self.is_full  # read once: a look may take it away meanwhile
        if waiting is not None:
            waiting.wake()

    def _free(self) -> int:
        """Return how many messages there are threads for."""
        free = cast("int | None", self.qos.can_consume_max_estimate())  # None: nobody set a limit
        return MOST_AT_ONCE if free is None else min(free, MOST_AT_ONCE)

    def _take(self, keys: Sequence[tuple[str, str]], free: int, judge: Judge, move_aside: MoveAside) -> bool:
        """Take the messages that are next; say whether there were any."""
        with self.conn_or_acquire() as client:
            pipe = client.pipeline(transaction=False)
            for _, key in keys:
                pipe.lrange(key, -free, -1)
            found = pipe.execute()
            left = free
            for (queue, key), items in zip(keys, found, strict=True):
                good = []
                for item in items[::-1][:left]:
                    problem = judge(queue, item)
                    if problem is None:
                        good.append(item)
                    elif remove(client, key, item):
                        move_aside(client, queue, problem, item)
                left -= len(good)
                self._hand_on(client, queue, self._move(client, key, good))
        return any(found)

    def _hand_on(self, client: redis.Redis, queue: str, payloads: Sequence[dict[str, Any]]) -> None:
        """Hand messages on in their order; if that fails at one, give those behind it back.

        The one itself stays with the broker for its time: it would fail at every look.
        """
        for number, payload in enumerate(payloads):
            try:
                self.connection._deliver(payload, queue)  # noqa: SLF001 - as kombu's own reader does
            except BaseException:
                tags = [one["properties"]["delivery_tag"] for one in payloads[number:]]
                self.noted.difference_update(tags)
                for tag in tags[:0:-1]:  # the last first, as each comes to the end that is taken from
                    self.qos.restore_by_tag(tag, client)
                raise

    def _move(self, client: redis.Redis, key: str, items: Sequence[bytes]) -> list[dict[str, Any]]:
        """Move messages from their list to the unacknowledged; return those that nobody else took first."""
        if not items:
            return []
        payloads = [loads(item.decode()) for item in items]
        notes = [(item, *_unacknowledged(payload)) for item, payload in zip(items, payloads, strict=True)]
        taken = take(client, key, notes, index_key=self.unacked_index_key, unacked_key=self.unacked_key)
        ours = [one for one, is_ours in zip(zip(notes, payloads, strict=True), taken, strict=True) if is_ours]
        self.noted.update(tag for (_, tag, _), _ in ours)
        return [payload for _, payload in ours]

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
            channel.take_kept(judge=judge, move_aside=move_aside, again=again)

    again = Wakening(look)
    again.listen(loop)
    loop.call_repeatedly(LOOK_EVERY_S, look)
