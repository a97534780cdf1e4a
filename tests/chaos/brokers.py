"""The broker is emptied, stopped, replaced by an empty one, slow, half-open; messages are doubled, reordered.

Only rows are promises here: a message that a broker has lost is nobody's fault (README, "Limits"). Where the
broker keeps what it has, `suno.enqueue` messages are promises too.
"""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import redis

from tests.chaos.outages import Break, Outage, rounds_of, watch
from tests.chaos.plan import Fault, Plan
from tests.chaos.proxy import Proxy, serve_proxy
from tests.chaos.site import Site, open_site
from tests.chaos.table import Row
from tests.chaos.world import World
from worker.celery import QUEUES
from worker.embedded.valkey import HOST, EmbeddedValkey, launch_valkey

WITHIN_S = 15.0
WITHIN_HALF_OPEN_S = 30.0
BUSY_EVERY_S = 0.25  # a task is watched so often while the broker is in trouble
LAG_S = 0.4  # of a slow broker, each way
LONGEST_POP_S = 1.5  # a worker that is held still has no pop open at the broker after that
MESSAGES = 30


@dataclass(slots=True, kw_only=True)
class Broker:
    """The Valkey of a world; `proxy` is how this installation's programs reach it."""

    server: EmbeddedValkey
    folder: Path
    proxy: Proxy
    chance: Random

    def emptied(self, site: Site, seconds: float) -> float:
        """Empty it at random moments."""
        end = time.monotonic() + seconds
        with redis.Redis.from_url(self.server.url) as client:
            while time.monotonic() < end:
                busy(site, self.chance.uniform(0.1, 1))
                client.flushall()
        return time.monotonic()

    def stopped(self, site: Site, seconds: float) -> float:
        """Stop it; start it again with what it had."""
        return self._restart(site, seconds, keep=True)

    def replaced(self, site: Site, seconds: float) -> float:
        """Stop it; start it again with nothing."""
        return self._restart(site, seconds, keep=False)

    def slow(self, site: Site, seconds: float) -> float:
        """Let each answer take its time."""
        self.proxy.delay_s = LAG_S
        site.enqueue(5)
        busy(site, seconds)
        self.proxy.delay_s = 0.0
        return time.monotonic()

    def half_open(self, site: Site, seconds: float) -> float:
        """Let every connection fall silent; new ones work."""
        silent = time.monotonic()
        assert self.proxy.half_open() > 0
        busy(site, seconds)
        return silent

    def shuffled(self, site: Site, seconds: float) -> float:
        """Double every message that waits, and put them in another order."""
        workers = [one for one in site.programs if one.log.name.startswith("worker")]
        for worker in workers:
            worker.child.send(signal.SIGSTOP)
        time.sleep(LONGEST_POP_S)
        site.enqueue(MESSAGES)
        busy(site, seconds)
        with redis.Redis.from_url(site.broker_url) as client:
            double(client, chance=self.chance)
        for worker in workers:
            worker.child.send(signal.SIGCONT)
        return time.monotonic()

    def _restart(self, site: Site, seconds: float, *, keep: bool) -> float:
        url = self.server.url
        self.server.stop()
        busy(site, seconds)
        if not keep:
            shutil.rmtree(self.folder / "appendonlydir")
        self.server = launch_valkey(folder=self.folder, earlier_url=url)
        assert self.server.url == url, "another program took the port meanwhile"
        return time.monotonic()


def busy(site: Site, seconds: float) -> None:
    """Have tasks watched for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        watch(site, [site.begin()])
        time.sleep(min(BUSY_EVERY_S, max(0.0, end - time.monotonic())))


def double(client: redis.Redis, *, chance: Random) -> None:
    """Write each queue anew, every message twice, in random order."""
    for queue in QUEUES:
        with client.pipeline(transaction=True) as pipe:
            pipe.lrange(queue, 0, -1)
            pipe.delete(queue)
            items, _ = pipe.execute()
        twice = [*items, *items]
        chance.shuffle(twice)
        if twice:
            client.rpush(queue, *twice)


def run(world: World, plan: Plan) -> Sequence[Row]:
    """Do all of it, one after the other. The short form does it beside SQLite alone."""
    if plan.short and world.postgres is not None:
        return []
    with opened(world, plan) as broker, open_site(world, name="broker", number=0, **through(broker)) as site:
        site.celery("worker").wait_for(" ready.")
        site.celery("beat")
        outages = (
            outage("broker emptied", broker.emptied, seconds=(5, 1)),
            outage("broker stopped", broker.stopped, seconds=(30, 2)),
            outage("broker replaced by an empty one", broker.replaced, seconds=(5, 1)),
            outage("broker slow", broker.slow, seconds=(20, 2)),
            outage("broker half-open", broker.half_open, seconds=(5, 0), within_s=WITHIN_HALF_OPEN_S),
            outage("messages doubled, reordered", broker.shuffled, seconds=(5, 1)),
        )
        return [rounds_of(site, outage, plan) for outage in outages]


def outage(name: str, strike: Break, *, seconds: tuple[float, float], within_s: float = WITHIN_S) -> Outage:
    """Return an outage of this broker."""
    return Outage(part="broker", name=name, strike=strike, within_s=within_s, seconds=seconds)


@contextmanager
def opened(world: World, plan: Plan) -> Iterator[Broker]:
    """Give the world's Valkey behind a proxy."""
    with serve_proxy((HOST, world.valkey.port)) as proxy:
        broker = Broker(
            server=world.valkey, folder=world.folder / "valkey", proxy=proxy, chance=plan.random("broker")
        )
        yield broker
        broker.server.stop()


def through(broker: Broker) -> dict[str, str]:
    """Return the settings that lead through the proxy."""
    url = broker.server.url.replace(f":{broker.server.port}/", f":{broker.proxy.port}/")
    return {"WORKER_BROKER_URL": url}


FAULT = Fault(
    meaning="the broker is emptied, stopped for 30 s, replaced, slow, half-open, doubles and reorders",
    run=run,
    rounds=5,
    minutes=15,
    short_rounds=1,
)
