"""One installation per kind of database, shared by the tests of a module: real worker and Beat processes."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from celery import Celery

from tests.servers import PostgresServer
from worker.core.signature import new_secret
from worker.db.history import History, read_history
from worker.db.session import Sessions, make_engine, make_sessions, reading
from worker.embedded.children import spawn
from worker.sandbox.front_desk import SeenRequest
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import LOOPBACK, hosted
from worker.sandbox.receiver import SandboxReceiver, Webhook
from worker.sandbox.sources import variables
from worker.sandbox.verification import make_verifier

API_KEY = "sk-end-to-end"
BROKER_DATABASE = 15
PATIENCE_S = 60.0
STOP_GRACE_S = 20.0


@dataclass(slots=True)
class Answers:
    """The ids that the gateway has answered about."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    given: set[str] = field(default_factory=set)

    def add(self, seen: SeenRequest) -> None:
        """Take a line of the gateway's log."""
        with self.changed:
            self.given.update(seen.task_ids)
            self.changed.notify_all()


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What a test sees of a running installation."""

    sessions: Sessions
    broker_url: str
    gateway: SandboxGateway
    answers: Answers
    gateway_url: str
    receiver: SandboxReceiver
    hook: str

    def enqueue(self, **arguments: str) -> None:
        """Put a Suno task under watch as another service does: by name, without our code."""
        with closing(Celery(broker=self.broker_url)) as other_service:
            other_service.send_task("suno.enqueue", kwargs=arguments, queue="enqueue")

    def wait_until_asked(self, task_id: str) -> None:
        """Wait until the worker has an answer of the gateway about the task."""
        with self.answers.changed:
            assert self.answers.changed.wait_for(lambda: task_id in self.answers.given, timeout=PATIENCE_S)

    def webhook_of(self, task_id: str) -> Webhook:
        """Wait for the task's one webhook."""
        came = self.receiver.wait_for(
            lambda webhooks: any(webhook.task_id == task_id for webhook in webhooks), seconds=PATIENCE_S
        )
        assert came, f"no webhook of {task_id} within {PATIENCE_S} s"
        (webhook,) = (webhook for webhook in self.receiver.webhooks if webhook.task_id == task_id)
        return webhook

    def settled(self, task_id: str, *, gateway: str) -> History:
        """Read what the tables say of the task, as soon as no delivery is pending."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with reading(self.sessions) as session:
                history = read_history(session, task_id=task_id, gateway=gateway)
            if history is not None and all(one.state != "PENDING" for one in history.deliveries):
                return history
            time.sleep(0.05)
        pytest.fail(f"the delivery of {task_id} was not recorded within {PATIENCE_S} s")


def clock() -> datetime:
    """Return the moment."""
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def end_to_end_broker_url(valkey_url: str) -> str:
    """Give a broker for the whole module, emptied first."""
    url = f"{valkey_url.removesuffix('/0')}/{BROKER_DATABASE}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def end_to_end_database_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Give a migrated database for the whole module, one of each kind."""
    if request.param == "sqlite":
        template: Path = request.getfixturevalue("migrated_file")
        yield f"sqlite:///{shutil.copy(template, tmp_path_factory.mktemp('end-to-end') / 'worker.db')}"
        return
    server: PostgresServer = request.getfixturevalue("migrated_postgres")
    server.create_database("end_to_end", template="migrated")
    yield server.url("end_to_end")
    server.drop_database("end_to_end")


@pytest.fixture(scope="module")
def installation(
    end_to_end_database_url: str, end_to_end_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    """Give a worker and a Beat, each a process of its own, between a simulated gateway and a receiver."""
    secret = new_secret(secrets.token_bytes(32))
    answers = Answers()
    gateway = SandboxGateway(clock=clock, api_key=API_KEY, lasts=timedelta(0), say=answers.add)
    receiver = SandboxReceiver(clock=clock, verify=make_verifier([secret]))
    folder = tmp_path_factory.mktemp("processes")
    engine = make_engine(end_to_end_database_url)
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        gateway_url = stack.enter_context(hosted(gateway.app()))
        receiver_url = stack.enter_context(hosted(receiver.app()))
        environment = {
            **os.environ,
            **variables(url=gateway_url, api_key=API_KEY),
            "WORKER_DATABASE_URL": end_to_end_database_url,
            "WORKER_BROKER_URL": end_to_end_broker_url,
            "WORKER_WEBHOOK_SECRET": secret,
            "WORKER_WEBHOOK_ALLOW": LOOPBACK,
            "WORKER_WEBHOOK_RETRY_SCHEDULE": "0.2,0.2,0.2",
            "WORKER_FIRST_POLL_DELAY": "0.3",
            "WORKER_POLL_INTERVAL": "0.3",
        }
        for program in ("worker", "beat"):
            child = spawn(
                [sys.executable, "-m", "celery", "-A", "worker", program],
                environment=environment,
                folder=folder,
            )
            stack.callback(child.stop, grace=STOP_GRACE_S)
        yield Installation(
            sessions=make_sessions(engine),
            broker_url=end_to_end_broker_url,
            gateway=gateway,
            answers=answers,
            gateway_url=gateway_url,
            receiver=receiver,
            hook=f"{receiver_url}/hook",
        )
