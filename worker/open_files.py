"""How many files a worker process may have open: it raises its own limit to what all its slots need.

Each connection is an open file. Shells and service managers grant 1,024 at first, the *soft* limit, for the
sake of programs that use select(), and let every program raise that up to the *hard* limit. None of what a
worker consists of uses select(), and it starts no other programs, which would inherit what it raised.

The hard limit is the administrator's: it is never touched. With one below what is needed a worker runs all
the same; with all slots taken, what needs one more file then fails in it, and is tried again.
"""

from __future__ import annotations

import sys
from typing import Final

# Up to four for each POST in flight, which may try four addresses of its receiver at once; the idle
# connections of three pools; three for each connection to SQLite. What is left, some thousands, is for
# gateways, broker, name servers and the threads' own.
NEEDED: Final = 8_192

TOO_FEW: Final = (
    "this worker may have %d files open and needs up to %d: when none is left, whatever needs a new "
    "connection fails and is tried again, POSTs as internal_error; "
    "raise its hard limit (ulimit -n, systemd's LimitNOFILE=, Docker's ulimits)"
)


def raise_own_limit() -> int | None:
    """Have as many open files allowed as are needed, or as may be; return the limit if it is too low."""
    if sys.platform == "win32":  # it has no such limit
        return None
    import resource  # noqa: PLC0415 - nor this module

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= NEEDED:
        return None
    most = NEEDED if hard == unlimited else min(NEEDED, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    except (OSError, ValueError):  # macOS may allow less than its hard limit says
        most = soft
    return None if most >= NEEDED else most
