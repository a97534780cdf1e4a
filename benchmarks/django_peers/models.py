"""What django-webhook reports: a row that was saved."""

from __future__ import annotations

from django.db import models


class Song(models.Model):  # type: ignore[misc]  # Django ships no types
    """A finished Suno task, with as much of it as our webhooks carry."""

    task_id = models.CharField(max_length=191)
    data = models.TextField()

    class Meta:
        """The app, whose label is not its module's."""

        app_label = "django_peers"

    def __str__(self) -> str:
        return str(self.task_id)
