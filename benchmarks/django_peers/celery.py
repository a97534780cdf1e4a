"""The Celery app that django-webhook sends with: `celery -A benchmarks.django_peers.celery worker`."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.django_peers.settings")

app = Celery("django_peers", broker=os.environ.get("PEER_BROKER"))
app.conf.update(
    task_ignore_result=True, broker_connection_retry_on_startup=True, task_default_queue="django_peers"
)
app.autodiscover_tasks()
