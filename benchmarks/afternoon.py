"""What a service writes in an afternoon instead: one Celery task for each Suno task.

Run by `celery -A benchmarks.afternoon worker`. Written fairly: a kept connection for each thread or process,
no results, no events, no row anywhere. So it loses what is in Redis or in a worker's memory when either dies,
and holds a Celery message for each poll.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import requests
from celery import Celery, Task

GATEWAY = os.environ.get("AFTERNOON_GATEWAY", "http://127.0.0.1:9")
INTERVAL_S = float(os.environ.get("AFTERNOON_INTERVAL", "10"))
HEADERS = {"Authorization": "Bearer sk-benchmarks"}

app = Celery("afternoon", broker=os.environ.get("AFTERNOON_BROKER"))
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    task_default_queue="afternoon",
    broker_transport_options={"visibility_timeout": 3600},
)

_kept = threading.local()


def http() -> requests.Session:
    """Return this thread's session, whose connections stay open."""
    if not hasattr(_kept, "session"):
        _kept.session = requests.Session()
    session: requests.Session = _kept.session
    return session


@app.task(bind=True, max_retries=None)
def watch(self: Task[..., Any], task_id: str, hook: str) -> None:
    """Ask once; come again after the interval until the Suno task has ended."""
    try:
        answer = http().get(f"{GATEWAY}/suno/fetch/{task_id}", headers=HEADERS, timeout=30)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise self.retry(exc=error, countdown=INTERVAL_S) from error
    found = answer.json()["data"]
    if found["status"] not in {"SUCCESS", "FAILURE"}:
        raise self.retry(countdown=INTERVAL_S)
    deliver.delay(found, hook)


@app.task(autoretry_for=(requests.RequestException,), retry_backoff=5, max_retries=10)
def deliver(found: dict[str, Any], hook: str) -> None:
    """POST the result; try again when the receiver does not take it."""
    http().post(hook, json=found, timeout=15).raise_for_status()
