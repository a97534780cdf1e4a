"""What django-outbound-webhooks reports: an event that was fired."""

from __future__ import annotations

from dataclasses import dataclass

from django_domain_events import event


@event
@dataclass(frozen=True, slots=True)
class SongFinished:
    """A finished Suno task, with as much of it as our webhooks carry."""

    task_id: str
    data: str
