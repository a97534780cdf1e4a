"""What an operator can do about a gateway in trouble: one sentence that names the variables to look at."""

from __future__ import annotations

from typing import assert_never

from worker.core.wire import Trouble


def advice(trouble: Trouble, *, gateway: str) -> str:
    """Return what to do, without a final full stop, so that it can follow the gateway's own words."""
    prefix = f"WORKER_GATEWAYS__{gateway.upper()}__"
    match trouble:
        case Trouble.NETWORK | Trouble.TIMEOUT:
            return f"check {prefix}BASE_URL, and that this machine reaches it"
        case Trouble.UNAUTHORIZED:
            return f"check {prefix}API_KEY (its validity and its quota), …AUTH_HEADER and …AUTH_PREFIX"
        case Trouble.NOT_FOUND | Trouble.NOT_JSON:
            return f"check {prefix}BASE_URL (without /suno/fetch) and …FETCH (batch or single)"
        case Trouble.REFUSED | Trouble.ENVELOPE:
            return f"check {prefix}BASE_URL and …FETCH (batch or single)"
        case Trouble.RATE_LIMITED:
            return f"lower {prefix}CONCURRENCY, or ask the gateway for more"
        case Trouble.SERVER_ERROR | Trouble.TOO_LARGE:
            return "the gateway is in trouble; the worker goes on asking, nothing is lost"
        case other:
            assert_never(other)
