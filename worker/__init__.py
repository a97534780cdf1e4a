"""suno-worker: watches Suno tasks at a gateway and POSTs each finished result to its notify_hook.

Python services that share the database put a task under watch in their own transaction:
`worker.enqueue(session, task_id=…, action="MUSIC", notify_hook=…)`.
"""

from typing import TYPE_CHECKING

from worker.version import __version__

if TYPE_CHECKING:
    from worker.intake import Enqueued
    from worker.library import enqueue
    from worker.request import Refused

__all__ = ["Enqueued", "Refused", "__version__", "enqueue"]


def __getattr__(name: str) -> object:
    """Import a public name at its first use: `suno-worker --help` needs none of them and their 0.5 s."""
    import worker.library  # noqa: PLC0415

    if name in __all__:
        return getattr(worker.library, name)
    message = f"module 'worker' has no attribute {name!r}"
    raise AttributeError(message)
