"""One installation: a database and a broker of its own, its programs, and the books about it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path

from celery import Celery

from tests.chaos.account import Account
from tests.chaos.entries import DELIVERED, Expected
from tests.chaos.ledger import Ledger
from tests.chaos.programs import Program, start, start_celery, start_up
from tests.chaos.receiver import Desk
from tests.chaos.recording import count_pending, read_recorded
from tests.chaos.world import API_KEY, World, clock
from worker.db.session import Sessions, make_engine, make_sessions
from worker.embedded.valkey import HOST
from worker.sandbox.songs import SimulatedTask, Stage

LOOK_EVERY_S = 0.1

# Small, so that a lease (this and 45 s) is short; a retry of what a fault refused comes soon.
SETTINGS = {
    "WORKER_WEBHOOK_TIMEOUT": "2",
    "WORKER_WEBHOOK_RETRY_SCHEDULE": ",".join(["1"] * 50),
    "WORKER_FIRST_POLL_DELAY": "0.2",
    "WORKER_POLL_INTERVAL": "0.5",
    "WORKER_GATEWAYS__HUB__TIMEOUT": "2",
    "WORKER_GATEWAYS__HUB__COOLDOWN": "0.5",
}


@dataclass(slots=True, kw_only=True)
class Site:
    """An installation. What `settings` says holds for programs that are started from then on."""

    name: str
    world: World
    folder: Path
    database_url: str
    broker_url: str
    settings: dict[str, str]
    sessions: Sessions
    sender: Celery
    desk: Desk
    programs: list[Program] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @property
    def ledger(self) -> Ledger:
        """The books."""
        return self.desk.ledger

    @property
    def hook(self) -> str:
        """Where this installation's results go."""
        return f"{self.world.receiver_url}/{self.name}/hook"

    def celery(self, *arguments: str) -> Program:
        """Start `celery -A worker ARGUMENTS`."""
        log = self.folder / f"{arguments[0]}-{len(self.programs)}.log"
        return self._keep(start_celery(*arguments, settings=self.settings, folder=self.folder, log=log))

    def module(self, name: str, *arguments: str) -> Program:
        """Start `python -m NAME ARGUMENTS`."""
        log = self.folder / f"{name.rpartition('.')[2]}-{len(self.programs)}.log"
        command = [sys.executable, "-m", name, *arguments]
        return self._keep(start(command, self.settings, self.folder, log))

    def up(self) -> Program:
        """Start `suno-worker up`, with this installation's broker."""
        log = self.folder / f"up-{len(self.programs)}.log"
        return self._keep(start_up(settings=self.settings, folder=self.folder, log=log))

    def enqueue(self, number: int = 1, *, lasts: float = 0.0, action: str = "MUSIC") -> list[str]:
        """Have the gateway begin so many tasks and send `suno.enqueue` for each, as another service does.

        A message that the broker has taken is a promise, so do not use this where the broker itself is
        emptied; there use `write`.
        """
        sent = [self.begin(lasts=lasts, action=action) for _ in range(number)]
        for task_id in sent:
            self.send(task_id, action=action)
        return sent

    def begin(
        self,
        *,
        lasts: float = 0.0,
        action: str = "MUSIC",
        outcome: Stage = Stage.SUCCESS,
        states: frozenset[str] = DELIVERED,
    ) -> str:
        """Have the gateway begin a task; return its id. The books expect it, and nothing is promised yet.

        `states`: how its delivery may stand in the end.
        """
        task_id = self.new_id()
        data = f'[ {{"id":"{task_id}-1", "audio_url" : "https://cdn1.suno.ai/{task_id}.mp3"}} ]'
        self.world.gateway.register(
            SimulatedTask(
                task_id=task_id,
                action=action,
                submitted_at=clock(),
                lasts=timedelta(seconds=lasts),
                outcome=outcome,
                data=data,
            )
        )
        self.ledger.expect(task_id, Expected(data=data, status=outcome, states=states))
        return task_id

    def new_id(self) -> str:
        """Return a task id that the gateway does not know."""
        return f"{self.name}-{next(self.numbers)}"

    def send(self, task_id: str, *, action: str = "MUSIC", hook: str | None = None) -> None:
        """Send `suno.enqueue` for a task that has begun; it is promised when the broker has it."""
        arguments = {"task_id": task_id, "action": action, "notify_hook": hook or self.hook}
        self.sender.send_task("suno.enqueue", kwargs=arguments, queue="enqueue")
        self.ledger.promise(task_id)

    def recover(self, task_ids: Sequence[str], *, since: float, seconds: float) -> float:
        """Wait until the results of these tasks have come and nothing is pending any more.

        Return the seconds from `since` until then; `seconds` or more when that is not so by then. The account
        shows that as a loss only while it lasts, so a fault of several rounds has to judge the time itself.
        """
        deadline = time.monotonic() + seconds
        if not self.ledger.wait_for(task_ids, seconds=seconds):
            return seconds
        while count_pending(self.sessions) and time.monotonic() < deadline:
            time.sleep(LOOK_EVERY_S)
        return time.monotonic() - since

    def account(self, *, of: Iterable[str] | None = None) -> Account:
        """Compare what was promised with what came and what is recorded, of these tasks or of all."""
        return self.ledger.account(read_recorded(self.sessions), of=of)

    def _keep(self, program: Program) -> Program:
        self.programs.append(program)
        return program


@contextmanager
def open_site(world: World, *, name: str, number: int, **settings: str) -> Iterator[Site]:
    """Make an installation; `number` is its database in the Valkey. Its programs are killed at the end."""
    folder = world.folder / name
    folder.mkdir()
    database_url, broker_url = world.fresh_database(name), world.fresh_broker(number)
    engine = make_engine(database_url)
    desk = Desk(ledger=Ledger())
    world.receiver.desks[name] = desk
    with ExitStack() as stack:
        stack.callback(engine.dispose)
        site = Site(
            name=name,
            world=world,
            folder=folder,
            database_url=database_url,
            broker_url=broker_url,
            settings={
                "WORKER_DATABASE_URL": database_url,
                "WORKER_BROKER_URL": broker_url,
                "WORKER_WEBHOOK_SECRET": world.secret,
                "WORKER_WEBHOOK_ALLOW": HOST,
                "WORKER_GATEWAYS__HUB__BASE_URL": world.gateway_url,
                "WORKER_GATEWAYS__HUB__API_KEY": API_KEY,
                **SETTINGS,
                **settings,
            },
            sessions=make_sessions(engine),
            sender=stack.enter_context(closing(Celery(broker=broker_url, set_as_current=False))),
            desk=desk,
        )
        stack.callback(kill_all, site.programs)
        yield site


def kill_all(programs: Sequence[Program]) -> None:
    """End what still runs."""
    for program in programs:
        program.kill()
