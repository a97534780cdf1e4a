"""Half an hour of mixed load and mixed trouble: nothing grows, and in the end all is accounted for.

One worker, Beat and the exporter live as long as the run, and their memory and descriptors are judged; a
second worker is killed or stopped in each round. `suno.prune` runs all the time with the shortest retention,
so tables must stay as large as they are. In the end each task that was enqueued is delivered, discarded or
pending, and as its fate wants it. Recovery is counted from the end of a round's troubles until the results of
all tasks of the round have come.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from random import Random
from urllib.parse import urlsplit
from urllib.request import urlopen

from tests.chaos.brokers import opened, through
from tests.chaos.drift import FEWEST, drift_of
from tests.chaos.entries import Recorded
from tests.chaos.mixture import STATES, Fate, Mixture
from tests.chaos.outages import said
from tests.chaos.plan import Fault, Plan
from tests.chaos.programs import Program
from tests.chaos.proxy import Proxy, serve_proxy
from tests.chaos.pruned import keep_pruned, read_pruned
from tests.chaos.samples import ALLOWED, Sample, take_sample
from tests.chaos.site import Site, open_site
from tests.chaos.table import Row, row
from tests.chaos.world import World
from worker.embedded.valkey import HOST
from worker.sandbox.faults import Fault as GatewayFault
from worker.sandbox.faults import FaultKind

CALM_S = 6.0  # after each trouble
TROUBLE_S = 6.0
BLIP_S = 2.0
LOOK_EVERY_S = 2.0
PRUNE_EVERY_S = 10.0
# The longest wait is the broker's, for what a killed worker had not acknowledged: 180 s.
PATIENCE_S = 300.0
SETTINGS = {
    "WORKER_RETENTION": "60",
    "WORKER_MISSING_GRACE": "5",
}
GATEWAY_TROUBLES = (
    GatewayFault(kind=FaultKind.STATUS, status_code=502, for_seconds=TROUBLE_S / 2),
    GatewayFault(kind=FaultKind.HTML, for_seconds=TROUBLE_S / 2),
    GatewayFault(kind=FaultKind.HANG, for_seconds=TROUBLE_S / 2),
    GatewayFault(kind=FaultKind.DROP, for_seconds=TROUBLE_S / 2),
    GatewayFault(kind=FaultKind.TRUNCATED, for_seconds=TROUBLE_S / 2),
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
    pruned_at: float = 0.0
    gateway_troubles: Iterator[GatewayFault] = field(default_factory=lambda: cycle(GATEWAY_TROUBLES))
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

    def grown(self) -> Iterator[str]:
        """Tell what did not stay as it was."""
        if len(self.samples) < FEWEST:
            yield f"{len(self.samples)} samples prove nothing"
            return
        for name in self.samples[0]:
            drift = drift_of([sample[name] for sample in self.samples])
            if drift.exceeds(ALLOWED[name.partition(" ")[0]]):
                yield f"{name} grew from {drift.early:.1f} to {drift.late:.1f}"


def start_victim(site: Site) -> Program:
    """Start the worker that will not live long."""
    return site.celery("worker", "-n", f"victim{len(site.programs)}@%h")


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


def run(world: World, plan: Plan) -> Sequence[Row]:
    """Do it for as long as is planned."""
    rounds: list[tuple[float, frozenset[str]]] = []
    with open_soak(world, plan) as soak:
        site, mixture = soak.site, soak.mixture
        with mixture.feeding():
            while not plan.is_over(done=len(rounds)):
                mended_at = soak.one_round()
                rounds.append((mended_at, frozenset(mixture.to_be_taken())))
        recorded = settle(site, mixture)
        wrong = [*mixture.refused, *soak.grown()]
        wrong += [f"{name} ended" for name, one in soak.watched.items() if one.child.ended() is not None]
        if tracebacks := said("Traceback", site.programs):
            wrong.append(f"{tracebacks} tracebacks in the logs")
        came = site.ledger.came
        return [
            row(
                site.ledger.account(recorded),
                name="soak",
                fault="mixed load, mixed trouble",
                database=world.database,
                recoveries=[
                    max(0.0, *(came.get(name, mended_at + PATIENCE_S) - mended_at for name in tasks))
                    for mended_at, tasks in rounds
                ],
                also_wrong=wrong,
                note=f"Soak on {world.database}: {told(soak, recorded)}",
            )
        ]


def settle(site: Site, mixture: Mixture) -> Mapping[str, Recorded]:
    """Wait until every delivery stands as it has to, and return how; what does not by then is lost."""
    deadline = time.monotonic() + PATIENCE_S
    site.ledger.wait_for(mixture.to_be_taken(), seconds=PATIENCE_S)
    while True:
        recorded = {**site.recorded(), **read_pruned(site.sessions)}
        if time.monotonic() > deadline or all(
            name in recorded and recorded[name].state in STATES[mixture.fates[name]]
            for name in site.ledger.promised
        ):
            return recorded
        time.sleep(LOOK_EVERY_S)


def told(soak: Soak, recorded: Mapping[str, Recorded]) -> str:
    """Return the figures of a run, early and late."""
    promised = soak.site.ledger.promised
    stands = Counter(recorded[name].state for name in promised & recorded.keys())
    sums = " + ".join(f"{stands[state]:,} {state}" for state in ("DELIVERED", "DISCARDED", "PENDING"))
    drifts = {name: drift_of([sample[name] for sample in soak.samples]) for name in soak.samples[0]}
    figures = [f"{name} {drift.early:.0f} → {drift.late:.0f}" for name, drift in drifts.items()]
    return f"{len(promised):,} enqueued = {sums}; {', '.join(figures)}"


FAULT = Fault(
    meaning="mixed load and mixed trouble for half an hour: nothing grows, all is accounted for",
    run=run,
    rounds=1_000,
    minutes=30,
    short_rounds=0,
)
