"""A broker that comes back is found within seconds, however long it was away.

kombu's pauses between two tries grow by 2 s up to 30 s; after half a minute's outage a worker came back 14 s
after its broker, after a longer one 30 s. A try costs one refused connection, so 5 s are often enough.
"""

from __future__ import annotations

import functools

from kombu import Connection

LONGEST_PAUSE_S = 5


def look_often(connection: Connection) -> None:
    """Have `connection` wait at most 5 s between two tries."""
    ensure = functools.partial(connection.ensure_connection, interval_max=LONGEST_PAUSE_S)
    connection.ensure_connection = ensure  # type: ignore[method-assign]
