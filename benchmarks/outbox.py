"""Scenarios of the outbox alone: what a delivery costs, what slow receivers cost the others, and scale.

The measured process runs the whole dispatcher on a database whose outbox is full.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from benchmarks.accounting import Meter, median_ratio
from benchmarks.deliveries import WARM_UP, fill, healthy_rate
from benchmarks.sizes import Sizes
from benchmarks.stage import ROOT, Stage, measure, peer, stage

CLIENTS = {"client": "ours", "bare": "httpx", "aiohttp": "aiohttp"}
WORKERS = (1, 2, 4)
HANGING = (0, 5, 20)  # per cent of the receivers


def cost(sizes: Sizes) -> dict[str, float]:
    """Return the CPU of a delivery beside that of a bare POST, at the same concurrency."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("ours", *CLIENTS)}
    with stage() as set_up, set_up.database() as database, peer("receiver") as ports:
        for _ in range(sizes.rounds):
            fill(database, ports=ports, count=sizes.posts + WARM_UP, known=True)
            found["ours"].append(measure("deliver", "ours", f"--database={database}"))
            nearly_all(found["ours"][-1]["delivered"], of=sizes.posts)
            for name, client in CLIENTS.items():
                found[name].append(measure("bare", client, f"--port={ports[0]}", f"--count={sizes.posts}"))
    cpu = {name: [one["cpu_s"] / sizes.posts * 1e6 for one in rounds] for name, rounds in found.items()}
    rate = {name: [sizes.posts / one["wall_s"] for one in rounds] for name, rounds in found.items()}
    return {
        "delivery_cpu_over_bare_post": median_ratio(cpu["ours"], cpu["bare"]),
        "delivery_cpu_over_bare_aiohttp_post": median_ratio(cpu["ours"], cpu["aiohttp"]),
        "post_cpu_over_bare_post": median_ratio(cpu["client"], cpu["bare"]),
        "delivery_rate_over_bare_loop": median_ratio(rate["ours"], rate["bare"]),
        **{f"delivery_{name}_cpu_us": statistics.median(one) for name, one in cpu.items()},
        **{f"delivery_{name}_per_s": statistics.median(one) for name, one in rate.items()},
    }


def slow(sizes: Sizes) -> dict[str, float]:
    """Return what is left of the healthy receivers' rate when some of the receivers never answer."""
    rates: dict[int, list[float]] = {percent: [] for percent in HANGING}
    hosts = sizes.slow_hosts
    with stage() as set_up, set_up.database() as database:
        for _ in range(sizes.rounds):
            for percent, found in rates.items():
                with peer("receiver", f"--hosts={hosts}", f"--hanging={hosts * percent // 100}") as ports:
                    fill(database, ports=ports, count=int(sizes.slow_s * 2_000), known=True)
                    done = measure("deliver", "ours", f"--database={database}", f"--seconds={sizes.slow_s}")
                    found.append(healthy_rate(database, done))
    return {
        "healthy_share_5pct_hanging": median_ratio(rates[5], rates[0]),
        "healthy_share_20pct_hanging": median_ratio(rates[20], rates[0]),
        **{f"healthy_per_s_{percent}pct_hanging": statistics.median(one) for percent, one in rates.items()},
    }


def scale(sizes: Sizes) -> dict[str, float]:
    """Return the rate of 1, 2 and 4 worker processes on one outbox, and the database's CPU for a delivery."""
    rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    database_us: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with stage() as set_up, set_up.database() as database, peer("receiver", "--hosts=8") as ports:
        for _ in range(sizes.rounds):
            for workers in WORKERS:
                fill(database, ports=ports, count=sizes.scale_posts, known=True, due=True)
                rate, seconds = together(set_up, database=database, workers=workers, count=sizes.scale_posts)
                rates[workers].append(rate)
                database_us[workers].append(seconds / sizes.scale_posts * 1e6)
    return {
        **{f"scale_per_s_{workers}_workers": statistics.median(one) for workers, one in rates.items()},
        **{
            f"scale_database_us_{workers}_workers": statistics.median(one)
            for workers, one in database_us.items()
        },
        "scale_ratio_2_over_1_workers": median_ratio(rates[2], rates[1]),
        "scale_ratio_4_over_1_workers": median_ratio(rates[4], rates[1]),
    }


def together(set_up: Stage, *, database: str, workers: int, count: int) -> tuple[float, float]:
    """Empty the outbox with so many processes at once; return attempts per second and the database's CPU."""
    meter = Meter(database=set_up.roots["database"])
    command = [sys.executable, "-m", "benchmarks.deliver", "drain", f"--database={database}"]

    def drain(_: int) -> dict[str, float]:
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        return dict(json.loads(done.stdout))

    with ThreadPoolExecutor(workers) as pool:
        done = list(pool.map(drain, range(workers)))
    delivered = sum(one["delivered"] for one in done)
    nearly_all(delivered, of=count)
    return healthy_rate(database, {"delivered": delivered, "since": 0.0}), meter.read()["database"]


def nearly_all(delivered: float, *, of: int) -> None:
    """End a scenario that measured something else; a few that wait for a retry change no figure."""
    assert delivered >= 0.99 * of, f"{delivered:.0f} of {of} were delivered"
