"""A whole installation for a few minutes: `up` in a temporary folder, between the two halves of the sandbox.

Nothing of the caller's installation takes part: every variable `WORKER_…` is set aside for the time. The
broker, the worker and Beat are the real ones of `suno-worker up`; only the gateway and the receiver are
played, in this process. Afterwards everything is gone, also after Ctrl-C or SIGTERM; a SIGKILL leaves the
temporary folder behind and no process.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from celery import Celery

from worker.cli.terminal import one_line
from worker.core.signature import new_secret
from worker.embedded.children import Child, spawn
from worker.sandbox.gateway import SandboxGateway
from worker.sandbox.hosting import LOOPBACK, hosted
from worker.sandbox.receiver import SandboxReceiver, Webhook
from worker.sandbox.sources import variables
from worker.sandbox.verification import ExtraMissing, make_verifier
from worker.settings import Settings, load_settings
from worker.settings.environment import PREFIX

START_DEADLINE_S = 30.0
STOP_GRACE_S = 15.0
LOOK_EVERY_S = 0.05
PING_S = 0.5
SHOWN_LOG_LINES = 15
ENTROPY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A running installation and its surroundings."""

    settings: Settings
    broker_url: str
    gateway: SandboxGateway
    gateway_url: str
    api_key: str
    receiver: SandboxReceiver
    hook: str
    up: Child
    log: Path

    def check(self) -> None:
        """Raise click.ClickException when `up` has ended."""
        check_runs(self.up, log=self.log)


@contextmanager
def rehearse(*, lasts: timedelta, say: Callable[[Webhook], None]) -> Iterator[Rehearsal]:
    """Run an installation for the block; music `lasts` as long as is said, `say` hears of each webhook.

    Raises click.ClickException when it does not start. Main thread only.
    """
    secret = new_secret(secrets.token_bytes(ENTROPY_BYTES))
    api_key = f"sk-{secrets.token_hex(16)}"
    try:
        verify = make_verifier([secret])
    except ExtraMissing as error:
        raise click.ClickException(str(error)) from error
    gateway = SandboxGateway(clock=clock, api_key=api_key, lasts=lasts)
    receiver = SandboxReceiver(clock=clock, verify=verify, say=say)
    with ExitStack() as stack:
        stack.enter_context(interruptible())
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="suno-worker-")))
        gateway_url = stack.enter_context(hosted(gateway.app()))
        receiver_url = stack.enter_context(hosted(receiver.app()))
        stack.enter_context(
            only_variables(
                {
                    **variables(url=gateway_url, api_key=api_key),
                    "WORKER_DATABASE_URL": f"sqlite:///{folder / 'worker.db'}",
                    "WORKER_WEBHOOK_SECRET": secret,
                    "WORKER_WEBHOOK_ALLOW": LOOPBACK,
                    "WORKER_FIRST_POLL_DELAY": "0.5",
                    "WORKER_POLL_INTERVAL": "0.8",  # with its jitter below the second between two ticks
                }
            )
        )
        settings = load_settings()
        log = folder / "up.log"
        up = stack.enter_context(running(log=log))
        broker_url = wait_until_ready(settings=settings, up=up, log=log)
        yield Rehearsal(
            settings=settings,
            broker_url=broker_url,
            gateway=gateway,
            gateway_url=gateway_url,
            api_key=api_key,
            receiver=receiver,
            hook=f"{receiver_url}/hook",
            up=up,
            log=log,
        )


@contextmanager
def running(*, log: Path) -> Iterator[Child]:
    """Run `suno-worker up` for the block."""
    with log.open("wb") as output:
        # -P: a folder named `worker` where the user happens to stand is not ours.
        up = spawn([sys.executable, "-P", "-m", "worker", "up"], output=output)
    try:
        yield up
    finally:
        up.stop(grace=STOP_GRACE_S)


def wait_until_ready(*, settings: Settings, up: Child, log: Path) -> str:
    """Return the broker's address once a worker answers there; raise click.ClickException when none does."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline:
        check_runs(up, log=log)
        broker_url = settings.resolve_broker_url()
        if broker_url is None:
            time.sleep(LOOK_EVERY_S)
            continue
        with closing(Celery(broker=broker_url)) as app:
            if app.control.ping(timeout=PING_S, limit=1):
                return broker_url
    raise click.ClickException(
        f"`suno-worker up` was not ready within {START_DEADLINE_S:.0f} s{last_lines(log)}"
    )


def check_runs(up: Child, *, log: Path) -> None:
    """Raise click.ClickException when `up` has ended."""
    status = up.ended()
    if status is not None:
        raise click.ClickException(f"`suno-worker up` ended with status {status}{last_lines(log)}")


def last_lines(log: Path) -> str:
    """Return the end of what `up` wrote, to stand at the end of an error."""
    lines = log.read_text(errors="replace").splitlines()[-SHOWN_LOG_LINES:]
    return "".join(["; its last lines:", *(f"\n  {one_line(line)}" for line in lines)])


@contextmanager
def only_variables(ours: Mapping[str, str]) -> Iterator[None]:
    """Replace all variables `WORKER_…` of this process and its children by `ours` for the block."""
    theirs = {name: value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}
    for name in theirs:
        del os.environ[name]
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
        os.environ.update(theirs)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as Ctrl-C does, so that it cleans up."""
    earlier = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def clock() -> datetime:
    """Return the moment: gateway and receiver read the same clock, so their times can be compared."""
    return datetime.now(UTC)
