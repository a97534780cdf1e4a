"""suno-worker: watches Suno tasks at a gateway and POSTs each finished result to its notify_hook.

Python services that share the database put a task under watch in their own transaction:
`worker.enqueue(session, task_id=…, action="MUSIC", notify_hook=…)`.
"""

from worker.intake import Enqueued
from worker.library import enqueue
from worker.request import Refused
from worker.version import __version__

__all__ = ["Enqueued", "Refused", "__version__", "enqueue"]
