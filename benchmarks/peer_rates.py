"""Deliveries per second from a full outbox: ours beside the two packages that Django's users would pick.

The webhooks are owed before anybody works. The rate is the receiver's own count from the moment at which a
fifth of them had come, when all processes of a side are up. Each side is owed what keeps it busy for some
seconds, ours more than theirs, so that no rate is that of a moment; the bodies are the same. Ours is one
worker process; each of the others gets as many as its documents say make it faster, over both cores. All
webhooks go to one receiver, of which ours never asks more than 64 at once; *spread* says what it does for
eight. The others open a connection for each webhook, wherever it goes, and never have 64 in flight.

django-webhook *tuned* keeps its database connections, with a pool of 8 processes or of 64 threads: the faster
one counts, round by round.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.accounting import Meter, median_ratio, medians
from benchmarks.deliveries import fill
from benchmarks.programs import ROOT, peer, running
from benchmarks.sides import check_delivered
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage, stage
from benchmarks.wire import ask, came_once

WAIT_S = 240.0
RELAYS = 4
TUNED = ("webhook_prefork", "webhook_threads")
RELAY = [sys.executable, "-m", "django", "deliver_events"]
CELERY = [sys.executable, "-m", "celery", "-A", "benchmarks.django_peers.celery", "worker"]
QUIET = ["--without-gossip", "--without-mingle"]
POOLS = {
    "prefork": [*CELERY, "--pool=prefork", "--concurrency=8", *QUIET],
    "threads": [*CELERY, "--pool=threads", "--concurrency=64", *QUIET],
}
LEAD = 5  # a fifth of the webhooks comes before the rate is taken


def ours(set_up: Stage, *, ports: list[int], count: int) -> dict[str, float]:
    """Our worker and Beat, with receivers that are new to them."""
    with set_up.database() as database:
        fill(database, ports=ports, count=count, known=False, due=True)
        with set_up.worker_and_beat(set_up.settings(database=database)) as roots:
            found = received(ports[-1], count=count, roots=list(roots.values()))
            check_delivered(database, count=count)
            return found


def django(set_up: Stage, *, side: str, port: int, count: int) -> dict[str, float]:
    """One of the two packages, on the same PostgreSQL and Valkey; a side is a package, or its tuned pool."""
    package, _, pool = side.partition("_")
    with set_up.database("peer", template="template1"), ExitStack() as programs:
        settings = {
            "DJANGO_SETTINGS_MODULE": "benchmarks.django_peers.settings",
            "PEER_PACKAGE": package,
            "PEER_KEEPS_CONNECTIONS": "yes" if pool or package == "outbound" else "no",
            "PEER_DATABASE_HOST": str(set_up.postgres.folder),
            "PEER_DATABASE_NAME": "peer",
            "PEER_BROKER": set_up.valkey.url,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        owe = [
            "-m",
            "benchmarks.django_peers.owe",
            f"--count={count}",
            f"--hook=http://127.0.0.1:{port}/hook",
        ]
        subprocess.run(
            [sys.executable, *owe],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, **settings},
            cwd=ROOT,
        )
        commands = [RELAY] * RELAYS if package == "outbound" else [POOLS[pool or "prefork"]]
        children = [
            programs.enter_context(
                running(one, settings=settings, log=set_up.folder / f"{side}-{number}.log", ready="")
            )
            for number, one in enumerate(commands)
        ]
        return received(port, count=count, roots=[child.process.pid for child in children])


def received(port: int, *, count: int, roots: Sequence[int]) -> dict[str, float]:
    """Wait for every webhook; return the rate of the last four fifths, and CPU for each of them."""
    ask(port, f"/wait/{count // LEAD}", patience=WAIT_S)
    meter = Meter(**{str(root): root for root in roots})
    before = len(ask(port, "/came"))
    ask(port, f"/wait/{count}", patience=WAIT_S)
    spent = sum(meter.read().values())
    came_once(port, count=count)
    moments = sorted(float(str(one)) for one in ask(port, "/came").values())[count // LEAD :]
    return {
        "webhooks": count,
        "rate": (len(moments) - 1) / (moments[-1] - moments[0]),
        "cpu_ms": spent / max(count - before, 1) * 1000,
    }


def run(sizes: Sizes) -> dict[str, float]:
    """Return the rates and their ratios."""
    hosts = {"ours": 1, "ours_spread": sizes.our_hosts}
    posts = {
        **dict.fromkeys(hosts, sizes.our_posts),
        "outbound": sizes.outbound_posts,
        "webhook": sizes.webhook_posts,
    }
    posts |= dict.fromkeys(TUNED, sizes.webhook_posts)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in posts}
    with stage() as set_up:
        for _ in range(sizes.rounds):
            for name, count in posts.items():
                with peer("receiver", f"--hosts={hosts.get(name, 1)}") as ports:
                    found[name].append(
                        ours(set_up, ports=ports, count=count)
                        if name in hosts
                        else django(set_up, side=name, port=ports[0], count=count)
                    )
    pools = zip(*(found.pop(name) for name in TUNED), strict=True)
    found["webhook_tuned"] = [max(pair, key=lambda one: one["rate"]) for pair in pools]
    rates = {name: [one["rate"] for one in rounds] for name, rounds in found.items()}
    flat = {
        f"peers_{name}_{key}": one for name, rounds in found.items() for key, one in medians(rounds).items()
    }
    return {
        "rounds": sizes.rounds,
        "rate_ratio_ours_over_django_outbound_webhooks": median_ratio(rates["ours"], rates["outbound"]),
        "rate_ratio_ours_over_django_webhook": median_ratio(rates["ours"], rates["webhook"]),
        "rate_ratio_ours_spread_over_django_webhook": median_ratio(rates["ours_spread"], rates["webhook"]),
        "rate_ratio_ours_over_django_webhook_tuned": median_ratio(rates["ours"], rates["webhook_tuned"]),
        **flat,
    }
