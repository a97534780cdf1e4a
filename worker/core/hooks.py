"""What a notify_hook may look like, judged before it is stored and again before each POST."""

from __future__ import annotations

from worker.core.addresses import Allow


class BadHook(ValueError):
    """The URL cannot be used; the text names the problem and what to do."""


def check_notify_hook(url: str, *, allow: Allow) -> str:
    """Return `url` unchanged, or raise BadHook."""
    raise NotImplementedError
