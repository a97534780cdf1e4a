"""Scenarios of the outbox alone: what a delivery costs, and what more worker processes bring.

The measured processes run the whole dispatcher on a database whose outbox is full.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from sqlalchemy import text

from benchmarks.accounting import Meter, median_ratio
from benchmarks.deliveries import WARM_UP, fill
from benchmarks.drains import begin, drains
from benchmarks.programs import measure, peer
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage, stage
from worker.db.session import make_engine

CLIENTS = {"client": "ours", "bare": "httpx", "aiohttp": "aiohttp"}
WORKERS = (1, 2, 4)
FAILED = (
    "SELECT coalesce(error, status_code::text), count(*), max(detail) FROM attempts "
    "WHERE status_code IS DISTINCT FROM 200 AND at >= to_timestamp(:since) GROUP BY 1"
)
ANSWERED = (
    "SELECT count(*), extract(epoch FROM max(at) - min(at)) FROM attempts "
    "WHERE status_code = 200 AND at >= to_timestamp(:since)"
)


def cost(sizes: Sizes) -> dict[str, float]:
    """Return the CPU of a delivery beside that of a bare POST, at the same concurrency."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("ours", *CLIENTS)}
    count = sizes.delivery_posts
    with stage() as set_up, set_up.database() as database, peer("receiver") as ports:
        for _ in range(sizes.rounds):
            fill(database, ports=ports, count=count + WARM_UP, known=True)
            found["ours"].append(drained(set_up, database=database, count=count, options=["--warm"])[0])
            for name, client in CLIENTS.items():
                found[name].append(measure("bare", client, f"--port={ports[0]}", f"--count={count}"))
    cpu = {name: [one["cpu_s"] / count * 1e6 for one in rounds] for name, rounds in found.items()}
    rate = {name: [count / one["wall_s"] for one in rounds] for name, rounds in found.items()}
    database_us = [one["database_s"] / count * 1e6 for one in found["ours"]]
    all_in = [sum(pair) for pair in zip(cpu["ours"], database_us, strict=True)]
    return {
        "rounds": len(all_in),
        "delivery_count": count,
        "delivery_cpu_over_bare_post": median_ratio(cpu["ours"], cpu["bare"]),
        "delivery_cpu_over_bare_post_all_in": median_ratio(all_in, cpu["bare"]),
        "delivery_cpu_over_bare_aiohttp_post": median_ratio(cpu["ours"], cpu["aiohttp"]),
        "post_cpu_over_bare_post": median_ratio(cpu["client"], cpu["bare"]),
        "delivery_rate_over_bare_loop": median_ratio(rate["ours"], rate["bare"]),
        "delivery_database_cpu_us": statistics.median(database_us),
        **{f"delivery_{name}_cpu_us": statistics.median(one) for name, one in cpu.items()},
        **{f"delivery_{name}_per_s": statistics.median(one) for name, one in rate.items()},
    }


def scale(sizes: Sizes) -> dict[str, float]:
    """Return the rate of 1, 2 and 4 worker processes on one outbox, and the database's CPU for a delivery."""
    found: dict[int, list[dict[str, float]]] = {workers: [] for workers in WORKERS}
    with (
        stage() as set_up,
        peer("receiver", f"--hosts={sizes.scale_hosts}") as ports,
        set_up.database("full") as full,
    ):
        fill(full, ports=ports, count=sizes.scale_posts, known=True, due=True)
        for _ in range(sizes.rounds):
            for workers, rounds in found.items():
                with set_up.database(template="full") as database:
                    done = drained(set_up, database=database, count=sizes.scale_posts, workers=workers)
                rounds.append(together(done, count=sizes.scale_posts, fair=sizes.scale_fair))
    rates = {workers: [one["per_s"] for one in rounds] for workers, rounds in found.items()}
    return {
        "rounds": len(rates[1]),
        "scale_count": sizes.scale_posts,
        **{
            f"scale_{key}_{workers}_workers": statistics.median(one[key] for one in rounds)
            for workers, rounds in found.items()
            for key in rounds[0]
            if (key, workers) != ("least_share", 1)
        },
        "scale_ratio_2_over_1_workers": median_ratio(rates[2], rates[1]),
        "scale_ratio_4_over_1_workers": median_ratio(rates[4], rates[1]),
    }


def drained(
    set_up: Stage, *, database: str, count: int, workers: int = 1, options: Sequence[str] = ()
) -> list[dict[str, float]]:
    """Empty the outbox with processes that begin at once; return what each says, and the database's CPU.

    Their own counts, the database's of answered attempts and the number that was owed must agree: a few that
    wait for a retry change no figure.
    """
    with drains(*options, database=database, workers=workers, folder=set_up.folder) as children:
        meter = Meter(database=set_up.roots["database"])
        done = begin(children)
        spent = meter.read()["database"]
    since = min(one["since"] for one in done)
    answered, seconds = read_answered(database, since=since)
    delivered = sum(one["delivered"] for one in done)
    assert delivered == answered, f"{delivered:.0f} delivered, {answered} recorded"
    assert 0.99 * count <= delivered <= count, (
        f"{delivered:.0f} of {count} were delivered; failed: {read_failed(database, since=since)}"
    )
    return [one | {"database_s": spent, "seconds": seconds} for one in done]


def read_answered(database: str, *, since: float) -> tuple[int, float]:
    """Return how many attempts were answered, and the seconds from the first to the last of them."""
    engine = make_engine(database)
    with engine.connect() as connection:
        answered, seconds = connection.execute(text(ANSWERED), {"since": since}).one()
    engine.dispose()
    return int(answered), float(seconds)


def read_failed(database: str, *, since: float) -> list[tuple[object, ...]]:
    """Return each kind of attempt that was not answered with 200: its name, how many, and one's detail."""
    engine = make_engine(database)
    with engine.connect() as connection:
        failed = [tuple(row) for row in connection.execute(text(FAILED), {"since": since})]
    engine.dispose()
    return failed


def together(done: Sequence[Mapping[str, float]], *, count: int, fair: float) -> dict[str, float]:
    """Return the rate of all, the least of their shares over an even one, and the database's CPU.

    A process that delivered less than `fair` of an even share ends the scenario.
    """
    delivered = [one["delivered"] for one in done]
    least = min(delivered) * len(done) / sum(delivered)
    assert least >= fair, f"one of {len(done)} processes did almost nothing: {delivered}"
    return {
        "per_s": sum(delivered) / done[0]["seconds"],
        "database_us": done[0]["database_s"] / count * 1e6,
        "least_share": least,
    }
