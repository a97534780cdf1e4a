"""One connection, over which one request after the other is sent and answered."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import cast

from worker.clients.passage import Passage
from worker.clients.response import Response
from worker.clients.upload import taken


class Closed(ConnectionError):
    """The connection ended before the answer did."""


class NoConnection(Exception):
    """No connection within the time for connecting."""


class Silence(Exception):
    """For as long as a read may take nothing came, and nothing of the request was taken."""


class Line(asyncio.Protocol):
    """The event loop's side of a connection; made for its first request, whose answer may come at once."""

    __slots__ = (
        "_answer",
        "_asked_at",
        "_error",
        "_loop",
        "_over",
        "_passage",
        "_read",
        "_taken",
        "_timer",
        "_transport",
    )

    def __init__(self, *, passage: Passage, answer: Response) -> None:
        """Make the protocol of a connection that is about to be made."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._taken = 0  # bytes that the peer had acknowledged at the last look
        self.begin(passage=passage, answer=answer)

    def begin(self, *, passage: Passage, answer: Response) -> None:
        """Take what comes from now on for `answer`."""
        self._passage = passage
        self._answer: Response | None = answer
        self._error: Exception | None = None
        self._over: asyncio.Future[None] = self._loop.create_future()

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def remote_address(self) -> str | None:
        """Return the peer's address, while there is one."""
        peer = None if self._transport is None else self._transport.get_extra_info("peername")
        return None if peer is None else str(peer[0])

    def send(self, request: bytes, *, read: timedelta) -> None:
        """Send the request; without a byte either way for `read`, its answer will be Silence."""
        if self._transport is not None:
            self._transport.write(request)
            self._asked_at = self._loop.time()
            self._read = read.total_seconds()
            self._timer = self._loop.call_later(self._read, self._look)

    async def answered(self) -> bool:
        """Wait for the end of the answer; say whether the connection is still usable.

        Raises Closed, Silence, or what the answer or the system raised.
        """
        answer = self._answer
        try:
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._answer = None
            if answer is not None:
                answer.close()
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # it holds this frame; together they would hold the request until a search for garbage
        return answer is not None and answer.leaves_connection_usable and self._is_at_rest()

    def close(self) -> None:
        """End it in peace; nobody waits for anything over it."""
        transport = self._transport
        if transport is not None:
            transport.close()  # over TLS it says so, and would wait half a minute for the same from the peer
            transport.abort()

    def abort(self) -> None:
        """End it now; whoever still waits gets Closed."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse it; what comes although nothing was asked ends the connection."""
        if self._answer is None:
            self.abort()
            return
        self._passage.heard(now=self._loop.time())
        try:
            self._answer.hear(data)
        except Exception as error:  # noqa: BLE001  # whoever asked is told
            self._end(error)
        else:
            if self._answer.ended:
                self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._transport = None
        if self._answer is not None:
            whole = exc is None and self._answer.ends_with_connection
            self._end(None if whole else exc or Closed())

    def _is_at_rest(self) -> bool:
        """Say whether it is open and all of the request has gone out."""
        return self.is_open and self._transport is not None and not self._transport.get_write_buffer_size()

    def _look(self) -> None:
        """End what has been silent for too long. Who still takes a long request is not silent."""
        now = self._loop.time()
        self._asked_at = max(self._asked_at, self._last_taken_at(now))
        left = max(self._asked_at, self._passage.last_heard_at or 0.0) + self._read - now
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self._end(Silence())

    def _last_taken_at(self, now: float) -> float:
        """Return when the peer took more of what was sent than at the last look, or 0 when it did not."""
        if self._transport is None:
            return 0.0
        so_far = taken(self._transport)
        if so_far is None:
            return now if self._transport.get_write_buffer_size() else 0.0
        if so_far.count == self._taken:
            return 0.0
        self._taken = so_far.count
        return now - so_far.ago_s

    def _end(self, error: Exception | None) -> None:
        if not self._over.done():
            self._error = error
            self._over.set_result(None)
