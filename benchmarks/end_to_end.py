"""Many Suno tasks complete within 2 s: ours, the afternoon script on two pools, and bare loops, in turns."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.accounting import median_ratio, medians
from benchmarks.sides import POOLS, Play, afternoon, ours
from benchmarks.sizes import Sizes
from benchmarks.stage import measure, peer, stage

LATENCY_S = 0.05  # of the gateway's answers
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
    return figures(found)


def bare(client: str, *, count: int) -> dict[str, float]:
    """Send POSTs with nothing but the client; return what one costs."""
    with peer("receiver") as (port,):
        done = measure("bare", client, f"--port={port}", f"--count={count}")
    return {"worker_ms": done["cpu_s"] / count * 1000, "rate": count / done["wall_s"]}


def figures(found: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return flat keys; the afternoon script counts with the pool that is kinder to it, round by round."""
    cpu = {name: [one["worker_ms"] for one in rounds] for name, rounds in found.items()}
    asked = {name: [one["requests"] for one in found[name]] for name in ("ours", *POOLS)}
    best_cpu = [min(pair) for pair in zip(cpu["prefork"], cpu["threads"], strict=True)]
    fewest = [min(pair) for pair in zip(asked["prefork"], asked["threads"], strict=True)]
    flat = {
        f"{name}_{key}": value for name, rounds in found.items() for key, value in medians(rounds).items()
    }
    return {
        "cpu_ratio_afternoon_over_ours": median_ratio(best_cpu, cpu["ours"]),
        "requests_ratio_afternoon_over_ours": median_ratio(fewest, asked["ours"]),
        "task_cpu_over_bare_post": median_ratio(cpu["ours"], cpu["bare"]),
        "task_cpu_over_bare_aiohttp_post": median_ratio(cpu["ours"], cpu["aiohttp"]),
        **{f"end_to_end_{key}": value for key, value in flat.items() if key not in UNUSED},
    }
