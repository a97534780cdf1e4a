"""Many Suno tasks complete within 2 s: ours, the afternoon script on two pools, and bare loops, in turns."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.accounting import median_ratio, medians
from benchmarks.programs import measure, peer
from benchmarks.sides import POOLS, Play, afternoon, ours
from benchmarks.sizes import Sizes
from benchmarks.stage import stage

LATENCY_S = 0.05  # of the gateway's answers
PARTS = ("worker_ms", "beat_ms", "database_ms", "broker_ms")
UNUSED = {f"{pool}_database_ms" for pool in POOLS}  # the afternoon script has no database


def run(sizes: Sizes) -> dict[str, float]:
    """Return the figures of all sides and their ratios."""
    sides: dict[str, Callable[[Play], dict[str, float]]] = {
        "ours": ours,
        "prefork": lambda play: afternoon(play, pool="prefork"),
        "threads": lambda play: afternoon(play, pool="threads"),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in [*sides, "bare", "aiohttp"]}
    with stage() as set_up:
        for _ in range(sizes.rounds):
            for name, side in sides.items():
                with peer("gateway", f"--latency={LATENCY_S}") as (gateway,), peer("receiver") as (receiver,):
                    play = Play(stage=set_up, sizes=sizes, gateway=gateway, receiver=receiver)
                    found[name].append(side(play))
            for name, client in {"bare": "httpx", "aiohttp": "aiohttp"}.items():
                found[name].append(bare(client, count=sizes.posts))
    return {"rounds": sizes.rounds, **figures(found)}


def bare(client: str, *, count: int) -> dict[str, float]:
    """Send POSTs with nothing but the client; return what one costs."""
    with peer("receiver") as (port,):
        done = measure("bare", client, f"--port={port}", f"--count={count}")
    return {"worker_ms": done["cpu_s"] / count * 1000, "rate": count / done["wall_s"]}


def sum_of(one: dict[str, float]) -> float:
    """Return the CPU of all that a side runs; a database that it does not use costs it nothing."""
    own = PARTS if "beat_ms" in one else [part for part in PARTS if part != "database_ms"]
    return sum(one.get(part, 0.0) for part in own)


def figures(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return flat keys; the afternoon script counts with the pool that is kinder to it, round by round."""
    cpu = {name: [one["worker_ms"] for one in rounds] for name, rounds in found.items()}
    all_in = {name: [sum_of(one) for one in rounds] for name, rounds in found.items()}
    kinder = [min(pair) for pair in zip(all_in["prefork"], all_in["threads"], strict=True)]
    asked = {name: [one["requests"] for one in found[name]] for name in ("ours", *POOLS)}
    best_cpu = [min(pair) for pair in zip(cpu["prefork"], cpu["threads"], strict=True)]
    fewest = [min(pair) for pair in zip(asked["prefork"], asked["threads"], strict=True)]
    flat = {
        f"{name}_{key}": value for name, rounds in found.items() for key, value in medians(rounds).items()
    }
    return {
        "cpu_ratio_afternoon_over_ours": median_ratio(best_cpu, cpu["ours"]),
        "cpu_ratio_afternoon_over_ours_all_in": median_ratio(kinder, all_in["ours"]),
        "requests_ratio_afternoon_over_ours": median_ratio(fewest, asked["ours"]),
        "task_cpu_over_bare_post": median_ratio(cpu["ours"], cpu["bare"]),
        "task_cpu_over_bare_post_all_in": median_ratio(all_in["ours"], cpu["bare"]),
        "task_cpu_over_bare_aiohttp_post": median_ratio(cpu["ours"], cpu["aiohttp"]),
        **{f"end_to_end_{key}": value for key, value in flat.items() if key not in UNUSED},
    }
