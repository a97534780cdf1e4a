"""The troubles of a soak, each for some seconds and one after the other, and what is looked at meanwhile.

One worker, Beat and the exporter live as long as the run; a second worker is killed or stopped in each round.
`suno.prune` runs all the time with the shortest retention.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from urllib.parse import urlsplit
from urllib.request import urlopen

from tests.chaos.brokers import opened, through
from tests.chaos.mixture import Fate, Mixture
from tests.chaos.plan import Plan
from tests.chaos.programs import Program
from tests.chaos.proxy import Proxy, serve_proxy
from tests.chaos.pruned import keep_pruned
from tests.chaos.samples import PASSING, Sample, take_sample
from tests.chaos.site import Site, open_site
from tests.chaos.world import World
from worker.embedded.valkey import HOST
from worker.sandbox.faults import Fault, FaultKind
from worker.settings import LEAST_RETENTION

CALM_S = 6.0  # before each trouble
TROUBLE_S = 6.0
BLIP_S = 2.0
LOOK_EVERY_S = 2.0
PRUNE_EVERY_S = 10.0
RETENTION_S = LEAST_RETENTION
FILLING_S = RETENTION_S + 30.0  # until the first tasks have ended, are past it, and went
SETTINGS = {
    "WORKER_RETENTION": str(RETENTION_S),
    "WORKER_MISSING_GRACE": "5",
}
GATEWAY_TROUBLES = (
    Fault(kind=FaultKind.STATUS, status_code=502, for_seconds=TROUBLE_S / 2),
    Fault(kind=FaultKind.HTML, for_seconds=TROUBLE_S / 2),
    Fault(kind=FaultKind.HANG, for_seconds=TROUBLE_S / 2),
    Fault(kind=FaultKind.DROP, for_seconds=TROUBLE_S / 2),
    Fault(kind=FaultKind.TRUNCATED, for_seconds=TROUBLE_S / 2),
)


@dataclass(slots=True, kw_only=True)
class Soak:
    """A run of it. `watched` lives to the end, `victim` does not."""

    site: Site
    mixture: Mixture
    chance: Random
    broker: Proxy
    vanishing: Proxy
    watched: Mapping[str, Program]
    victim: Program
    metrics_url: str
    samples: list[Sample] = field(default_factory=list)
    filling: int = 0  # how many of them were taken while tables filled up
    began: float = field(default_factory=time.monotonic)
    pruned_at: float = 0.0
    gateway_troubles: Iterator[Fault] = field(default_factory=lambda: cycle(GATEWAY_TROUBLES))
    endings: Iterator[signal.Signals] = field(default_factory=lambda: cycle([signal.SIGKILL, signal.SIGTERM]))
    silences: Iterator[bool] = field(default_factory=lambda: cycle([False, True]))

    def one_round(self) -> float:
        """Let every trouble happen once, in an order of chance; return when the last was over."""
        troubles: list[Callable[[], None]] = [
            self.gateway,
            self.hang,
            self.vanish,
            self.blip,
            self.end_worker,
        ]
        self.chance.shuffle(troubles)
        for trouble in troubles:
            self.watch(CALM_S)
            trouble()
        return time.monotonic()

    def watch(self, seconds: float) -> None:
        """Take samples for so long, have the exporter scraped and what is old pruned."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if time.monotonic() >= self.pruned_at + PRUNE_EVERY_S:
                self.site.sender.send_task("suno.prune", queue="poll", expires=60)
                self.pruned_at = time.monotonic()
            urlopen(self.metrics_url, timeout=30).close()  # noqa: S310 - our own exporter
            self.samples.append(take_sample(self.site, watched=self.watched))
            if time.monotonic() < self.began + FILLING_S:
                self.filling = len(self.samples)
            time.sleep(max(0.0, min(LOOK_EVERY_S, end - time.monotonic())))

    def gateway(self) -> None:
        """Have the gateway answer with an error, a page, half an answer or nothing."""
        self.site.world.gateway.faults.switch_on(next(self.gateway_troubles))
        self.watch(TROUBLE_S)

    def hang(self) -> None:
        """Have a receiver take what comes, and never answer."""
        self.mixture.hangs.set()
        self.watch(TROUBLE_S)
        self.mixture.hangs.clear()

    def vanish(self) -> None:
        """Take a receiver away: connections are cut or fall silent, new ones are refused."""
        began = time.monotonic()
        self._break(self.vanishing)
        self.watch(TROUBLE_S)
        self.vanishing.refuses = False
        self.site.ledger.strike(since=began)

    def blip(self) -> None:
        """Have the connections to the broker cut or silent, and for a moment no new one."""
        self._break(self.broker)
        self.watch(BLIP_S)
        self.broker.refuses = False

    def end_worker(self) -> None:
        """Kill or stop the second worker, and start another."""
        began = time.monotonic()
        if next(self.endings) is signal.SIGKILL:
            self.victim.kill()
            self.site.ledger.strike(since=began)
        elif (status := self.victim.stop()) != 0:
            raise AssertionError(f"a worker that was told to stop ended with status {status}")
        self.victim = start_victim(self.site)

    def _break(self, proxy: Proxy) -> None:
        proxy.refuses = True
        if next(self.silences):
            proxy.half_open()
        else:
            proxy.cut()


def start_victim(site: Site) -> Program:
    """Start the worker that will not live long."""
    own = site.database_url
    if site.world.postgres is not None:
        own += f"&application_name={PASSING}"
    site.settings["WORKER_DATABASE_URL"] = own
    victim = site.celery("worker", "-n", f"victim{len(site.programs)}@%h")
    site.settings["WORKER_DATABASE_URL"] = site.database_url
    return victim


@contextmanager
def open_soak(world: World, plan: Plan) -> Iterator[Soak]:
    """Start all of it."""
    receiver = (HOST, urlsplit(world.receiver_url).port or 80)
    with (
        opened(world, plan) as broker,
        serve_proxy(receiver) as hanging,
        serve_proxy(receiver) as vanishing,
        open_site(world, name="soak", number=0, **through(broker), **SETTINGS) as site,
    ):
        keep_pruned(site.sessions)
        chance = plan.random("soak")
        hooks = {
            fate: f"http://{HOST}:{proxy.port}/{site.name}/hook"
            for fate, proxy in ((Fate.HANGING, hanging), (Fate.VANISHING, vanishing))
        }
        mixture = Mixture(site=site, chance=plan.random("mixture"), hooks=hooks)
        site.desk.decide = mixture.decide
        watched = {
            "worker": site.celery("worker", "-n", "lasting@%h"),
            "Beat": site.celery("beat"),
            "exporter": site.module("worker", "exporter", "--port", "0"),
        }
        watched["worker"].wait_for(" ready.")
        watched["exporter"].wait_for("/metrics")
        metrics_url = watched["exporter"].log.read_text().split("Metrics at ")[1].split()[0]
        yield Soak(
            site=site,
            mixture=mixture,
            chance=chance,
            broker=broker.proxy,
            vanishing=vanishing,
            watched=watched,
            victim=start_victim(site),
            metrics_url=metrics_url,
        )
