"""The Celery app: broker, queues, limits and the beat schedule, each setting with its why.

`celery -A worker worker`, `celery -A worker beat` and `celery -A worker flower` work as written. Importing
this module reads no setting and opens nothing; the environment is read when Celery first asks for its
configuration. Settings that cannot be used, or no broker at all, end the program: a line for each mistake.

Messages are doorbells, the truth is in SQL. So nothing here tries to make a message arrive: every setting is
about staying alive and never doing harm with one that comes late or twice.
"""

from __future__ import annotations

import functools
import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from celery import Celery
from celery.schedules import crontab, schedule
from celery.signals import setup_logging
from kombu import Exchange, Queue

from worker import logs
from worker.settings import LogFormat, Settings, SettingsError, load_settings
from worker.uptime import booted_at, uptime

QUEUES = ("enqueue", "poll", "deliver")
ROUTES = {"suno.enqueue": "enqueue", "suno.poll": "poll", "suno.prune": "poll", "suno.deliver": "deliver"}

# A tick that nobody took for 10 s is stale: nine newer ones are behind it. `expires` is compared with another
# machine's clock, so the guard lets only those expire that have others behind them.
RING_EXPIRES_S = 10
PRUNE_EXPIRES_S = 600

NO_BROKER = (
    "WORKER_BROKER_URL: is not set, and no embedded broker is running; start one with `suno-worker up`, or "
    "set it, for example WORKER_BROKER_URL=redis://:PASSWORD@localhost:6379/0"
)

# With kombu's defaults a worker, Beat or sender hangs for ever on a half-open connection (fail-over, NAT).
# With these all of them were back after 18 to 21 s. Senders of other services need them too.
SOCKET_OPTIONS = {
    "socket_timeout": 5,  # must stay above kombu's BRPOP of 1 s
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 5,
}

BOOTED_AT = booted_at()


def beat_now() -> datetime:
    """Return a time that only moves on: by the wall clock, Beat would rest as long as that is set back."""
    return datetime.fromtimestamp(BOOTED_AT + uptime(), UTC)


app = Celery("worker", include=["worker.tasks", "worker.beat"])

app.conf.update(
    # One process is enough: SQL and decisions run in threads, HTTP on one event loop. No fork, so no database
    # connection is ever shared between processes.
    worker_pool="threads",
    worker_concurrency=16,
    # A message waits in its queue, where other workers see it, and not in a busy worker.
    worker_prefetch_multiplier=1,
    # Malformed messages from other services would end or wedge every worker.
    worker_consumer="worker.guard:GuardedConsumer",
    # All three are read by a plain worker; `-Q` picks. Named exchanges, or Celery would bind all to one key.
    task_queues=[Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
    task_routes={task: {"queue": queue} for task, queue in ROUTES.items()},
    task_default_queue="enqueue",
    # A misspelt `-Q` or queue of a sender is an error at once, not a list that nobody reads.
    task_create_missing_queues=False,
    # JSON only: unpickling a stranger's message runs it.
    task_serializer="json",
    result_serializer="json",
    event_serializer="json",
    accept_content=["json"],
    # Only `suno.enqueue` keeps a result, and only where a backend is set (see `worker.tasks`).
    task_ignore_result=True,
    result_expires=3600,
    # Flower shows what each task did. No "sent" events: they make a metric series per sending process.
    worker_send_task_events=True,
    task_send_sent_event=False,
    # A worker outlives any outage of its broker; the default gives up after about 46 minutes.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # An acknowledgement needs no channel on Redis: what runs when the broker goes may end in peace.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # After a reconnect Celery would take fewer messages until as many have ended; doubles are harmless here.
    worker_enable_prefetch_count_reduction=False,
    # A thread that rings waits at most this long for one of the ten connections for publishing.
    broker_pool_acquire_timeout=5,
    broker_transport_options={
        **SOCKET_OPTIONS,
        # A retried LPUSH is a second message.
        "retry_on_timeout": False,
        "client_name": "suno-worker",
        # How long after the death of a worker its unacknowledged messages come back. Above the longest
        # `suno.enqueue`: 60 s behind others that wait for the database, then its own 60 s.
        "visibility_timeout": 180,
        # Look for them every 10 s; the default looks every 100 s.
        "unacked_restore_interval": 10,
        "unacked_restore_throttle": 1,
        # One worker at a time does that. One that is killed at it keeps the lock, by default for 300 s; the
        # lock only spares the others a look, so that it may end early.
        "unacked_mutex_expire": 30,
    },
    redis_socket_timeout=5.0,
    redis_socket_connect_timeout=3.0,
    redis_socket_keepalive=True,
    redis_backend_health_check_interval=5,
    # In memory: Beat keeps no file. Two of them are harmless, so two make it highly available.
    beat_scheduler="worker.beat:PunctualScheduler",
    # `celery -A worker inspect ping -d celerybeat@HOST` answers only while Beat ticks: its health check.
    beat_enable_remote_control=True,
    beat_schedule={
        "poll": {
            "task": "suno.poll",
            "schedule": schedule(1.0, nowfun=beat_now),
            "options": {"queue": "poll", "expires": RING_EXPIRES_S},
        },
        "deliver": {
            "task": "suno.deliver",
            "schedule": schedule(1.0, nowfun=beat_now),
            "options": {"queue": "deliver", "expires": RING_EXPIRES_S},
        },
        "prune": {
            "task": "suno.prune",
            "schedule": crontab(minute=17, nowfun=beat_now),
            "options": {"queue": "poll", "expires": PRUNE_EXPIRES_S},
        },
    },
)


@functools.cache
def settings() -> Settings:
    """Return the process's settings, or end it with one line for each mistake."""
    try:
        return load_settings()
    except SettingsError as error:
        sys.exit(str(error))


def _from_environment() -> dict[str, Any]:
    """Return the part of the configuration that the environment decides."""
    configured = settings()
    try:
        broker_url = configured.resolve_broker_url()
    except OSError as error:
        sys.exit(
            f"{configured.broker_url_file()}: {error.strerror}; set WORKER_BROKER_URL, or run as its owner"
        )
    if broker_url is None:
        sys.exit(NO_BROKER)
    backend = configured.result_backend
    return {"broker_url": broker_url, "result_backend": backend.get_secret_value() if backend else None}


app.add_defaults(_from_environment)


@setup_logging.connect
def _set_up_logging(**_: object) -> None:
    """Log as the settings say, in worker and Beat alike; Celery's own `--loglevel` is not used.

    Flower never asks: its few lines stay its own.
    """
    configured = settings()
    logs.configure(
        level=configured.log_level,
        as_json=configured.log_format is LogFormat.JSON,
        secrets=known_secrets(configured),
    )


def known_secrets(configured: Settings) -> list[str]:
    """Return what no log line may show."""
    hidden = list(configured.webhook_secret)
    for gateway in configured.gateways.values():
        hidden += [gateway.api_key, *gateway.webhook_secret]
    urls = [configured.database_url, configured.resolve_broker_url() or ""]
    if configured.result_backend is not None:
        urls.append(configured.result_backend.get_secret_value())
    passwords = [urlsplit(url).password or "" for url in urls]
    return [
        *(secret.get_secret_value() for secret in hidden),
        *passwords,
        *(unquote(password) for password in passwords),
    ]
