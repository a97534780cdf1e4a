"""`suno-worker up`: worker, Beat and, with nothing configured, a broker of their own, as one command.

The database is migrated first. Then every program runs as a child of this process, which starts it again when
it ends by itself and ends it when it ends itself, even by SIGKILL.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec

import click

from worker.celery import QUEUES
from worker.cli.connections import database_place
from worker.cli.operations import migrate
from worker.cli.terminal import examples, printable
from worker.embedded.children import Child, spawn
from worker.embedded.folder import Held, hold, write_private
from worker.embedded.supervisor import Post, Program, Supervisor
from worker.embedded.valkey import LaunchError, launch_valkey
from worker.settings import Settings, load_settings
from worker.settings.urls import masked_url

LOOPBACK = "127.0.0.1"

# Python and Celery's own command line look in the working folder first, and would take a user's `worker.py`
# there for this package. What is imported already is not looked for again.
PYTHON = (sys.executable, "-P", "-c")
WORKER = (*PYTHON, "from worker.programs import worker; worker()")
BEAT = (*PYTHON, "from worker.programs import beat; beat()")
START_CELERY = "import worker.celery, celery.__main__; celery.__main__.main()"
FLOWER = (*PYTHON, START_CELERY, "-A", "worker", "--quiet", "flower")

# Every verb that asks whether an `up` runs touches the lock for a moment.
LOOKERS_S = 0.5

# The longest request, and then its record.
RECORD = timedelta(seconds=15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """What `up` runs, each as the function that starts it."""

    settings: Settings
    flower_port: int

    def valkey(self, told_to_stop: Callable[[], bool]) -> Child:
        """Start the embedded broker, at its earlier address if there is one, and write down where it is."""
        file = self.settings.broker_url_file()
        server = launch_valkey(
            folder=file.with_name("valkey"),
            earlier_url=file.read_text() if file.exists() else None,
            told_to_stop=told_to_stop,
        )
        write_private(file, server.url)
        return server.child

    def worker(self, _told_to_stop: Callable[[], bool]) -> Child:
        """Start one worker process for all queues."""
        return self._spawn(WORKER)

    def beat(self, _told_to_stop: Callable[[], bool]) -> Child:
        """Start Beat."""
        return self._spawn(BEAT)

    def flower(self, _told_to_stop: Callable[[], bool]) -> Child:
        """Start Flower on loopback.

        It asks at once for workers, before ours is there, and would warn that nobody answers.
        """
        place = (f"--address={LOOPBACK}", f"--port={self.flower_port}")
        return self._spawn((*FLOWER, *place, "--logging=error"))

    def _spawn(self, command: Sequence[str]) -> Child:
        # By environment and not by argument, since the process list is everybody's.
        broker = {"WORKER_BROKER_URL": self.settings.resolve_broker_url() or ""}
        return spawn(command, environment=os.environ | broker)

    def stages(self, *, flower: bool) -> list[list[Post]]:
        """Return what runs, in the order of its start: the broker outlives those who finish work over it."""
        broker = [Program(name="Valkey", start=self.valkey)] if self.settings.broker_url is None else []
        celery = [Program(name="the worker", start=self.worker), Program(name="Beat", start=self.beat)]
        if flower:
            celery.append(Program(name="Flower", start=self.flower))
        return [[Post(program=program) for program in stage] for stage in (broker, celery)]


@click.command(epilog=examples("suno-worker up", "suno-worker up --flower"))
@click.option("--flower", is_flag=True, help="Also start Flower, for this machine only.")
@click.option(
    "--flower-port", type=click.IntRange(1, 65535), default=5555, show_default=True, help="Flower's port."
)
@click.pass_context
def up(context: click.Context, *, flower: bool, flower_port: int) -> None:
    """Start worker and Beat together, migrating first; Ctrl-C or SIGTERM stops them cleanly.

    Without WORKER_BROKER_URL it also starts a broker of its own, a real Valkey for this machine only, and
    keeps its data beside the database in `.suno-worker/`.
    """
    settings = load_settings()
    if flower and find_spec("flower") is None:
        raise click.ClickException("Flower is not installed: pip install 'suno-worker[flower]'")
    folder = settings.state_folder()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        advice = f"create the folder {folder.parent}, and make it writable for this user"
        raise click.ClickException(printable(f"{folder}: {error.strerror}: {advice}")) from error
    try:
        with hold(settings.up_lock(), patience=LOOKERS_S):
            context.invoke(migrate, as_json=False)
            show_places(settings, flower_port=flower_port if flower else None)
            reason = Supervisor(
                stages=Programs(settings=settings, flower_port=flower_port).stages(flower=flower),
                grace=longest_request(settings) + RECORD,
                say=click.echo,
            ).run()
    except Held as held:
        raise click.ClickException(
            f"`suno-worker up` runs here already (process {held.holder}): stop that one first"
        ) from held
    except LaunchError as error:
        raise click.ClickException(str(error)) from error
    if reason is not None:
        raise click.ClickException(reason)


def longest_request(settings: Settings) -> timedelta:
    """Return how long a request that has just begun may take."""
    return max([settings.webhook_timeout, *(gateway.timeout for gateway in settings.gateways.values())])


def show_places(settings: Settings, *, flower_port: int | None) -> None:
    """Print where everything is, and what to do next."""
    embedded = f"Valkey on {LOOPBACK}, its URL in {settings.broker_url_file()}"
    configured = settings.broker_url and masked_url(settings.broker_url.get_secret_value())
    gateways = ", ".join(settings.gateways)
    places = {
        "database": database_place(settings),
        "broker": configured or embedded,
        "queues": ", ".join(QUEUES),
        "gateways": gateways or "none yet: set WORKER_GATEWAYS__MYGATEWAY__BASE_URL and …__API_KEY",
        "Flower": flower_port and f"http://{LOOPBACK}:{flower_port}",
        "enqueue": "suno-worker enqueue TASK_ID --action MUSIC --notify-hook https://example.com/hook",
        "stop": "Ctrl-C",
    }
    for name, place in places.items():
        if place:
            click.echo(f"{click.style(f'{name:>9}', bold=True)}  {printable(place)}")
