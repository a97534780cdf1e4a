"""What a delivery costs beside a bare POST, and what slow receivers cost the others.

Run `python -m benchmarks.deliveries`. PostgreSQL, receiver and sender are processes of their own on loopback;
the variants take turns in each round, and the medians' ratios are printed as Markdown.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, text

from tests.servers import serve_postgres
from worker.db import origins
from worker.db.identity import new_delivery_id
from worker.db.migrate import upgrade
from worker.db.models import Delivery, Gateway, SunoTask
from worker.db.session import make_engine, make_sessions

GROUP = 1_000
WARM_UP = 256


@contextmanager
def receiver(*, hosts: int = 1, hanging: int = 0) -> Iterator[list[int]]:
    """Run a receiver on that many ports; the first `hanging` of them never answer."""
    command = [sys.executable, "-m", "benchmarks.receiver", f"--hosts={hosts}", f"--hanging={hanging}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield json.loads(child.stdout.readline())
        finally:
            child.kill()


def run(what: str, **options: object) -> dict[str, float]:
    """Run one measured process and return what it printed."""
    command = [sys.executable, "-m", "benchmarks.deliver", what]
    command += [f"--{name}={value}" for name, value in options.items()]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def fill(database: str, *, ports: list[int], count: int, known: bool) -> None:
    """Replace the outbox by `count` deliveries over the ports; `known` origins are at full speed.

    The first 256 are due now, for the warm-up; the others tomorrow, until the measured process makes them
    due.
    """
    engine = make_engine(database)
    data = json.dumps([{"id": "x" * 36, "audio_url": "y" * 100, "prompt": "z" * 2000}])
    now = datetime.now(UTC)
    names = [f"http://127.0.0.1:{port}" for port in ports]
    with make_sessions(engine).begin() as session:
        for table in ("attempts", "deliveries", "transitions", "suno_tasks", "origins", "gateways"):
            session.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - names of ours
        session.execute(insert(Gateway).values(name="hub"))
        for start in range(0, count, GROUP):
            numbers = range(start, min(start + GROUP, count))
            finished = {"gateway": "hub", "action": "MUSIC", "status": "SUCCESS", "data": data}
            moments = {"enqueued_at": now, "finished_at": now}
            tasks = [finished | moments | {"task_id": f"t{number}"} for number in numbers]
            inserted = insert(SunoTask).returning(SunoTask.id, sort_by_parameter_order=True)
            ids = session.scalars(inserted, tasks)
            due = {"event": "finished", "state": "PENDING", "created_at": now}
            owed = [
                due
                | {
                    "id": new_delivery_id(now=now),
                    "suno_task_id": row_id,
                    "next_attempt_at": now if number < WARM_UP else now + timedelta(days=1),
                    "notify_hook": f"{names[number % len(names)]}/hook",
                    "origin": names[number % len(names)],
                }
                for number, row_id in zip(numbers, ids, strict=True)
            ]
            session.execute(insert(Delivery), owed)
        origins.make_due(session, origins=names, now=now)
        session.execute(text("UPDATE origins SET concurrency = :limit"), {"limit": 64 if known else 4})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    engine.dispose()


def cost(database: str, *, rounds: int, count: int) -> None:
    """Print the CPU of a delivery beside that of a bare POST, at the same concurrency."""
    mine: list[float] = []
    yard: list[float] = []
    walls: list[tuple[float, float]] = []
    with receiver() as ports:
        for _ in range(rounds):
            fill(database, ports=ports, count=count + WARM_UP, known=True)
            ours = run("ours", database=database)
            bare = run("bare", port=ports[0], count=count, concurrency=64)
            assert ours["delivered"] == count
            mine.append(ours["cpu_s"] / count * 1e6)
            yard.append(bare["cpu_s"] / count * 1e6)
            walls.append((ours["wall_s"], bare["wall_s"]))
    ratio = statistics.median(one / other for one, other in zip(mine, yard, strict=True))
    rate = statistics.median(count / wall for wall, _ in walls)
    bare_rate = statistics.median(count / wall for _, wall in walls)
    print("\n| one healthy origin, 64 in flight | CPU µs | per second |\n| --- | --- | --- |")
    print(f"| one delivery, all included | {statistics.median(mine):.0f} | {rate:.0f} |")
    print(f"| one bare POST (httpx over aiohttp) | {statistics.median(yard):.0f} | {bare_rate:.0f} |")
    print(f"| **ratio** | **{ratio:.2f}** | **{rate / bare_rate:.2f}** |", flush=True)


def in_flight(*, rounds: int, count: int) -> None:
    """Print what a POST costs with 1, 50 and 500 in flight."""
    costs: dict[int, list[float]] = {1: [], 50: [], 500: []}
    with receiver() as ports:
        for _ in range(rounds):
            for concurrency, found in costs.items():
                result = run("posts", port=ports[0], count=count, concurrency=concurrency)
                found.append(result["cpu_s"] / count * 1e6)
    print("\n| POSTs in flight | CPU µs per POST | beside 1 |\n| --- | --- | --- |")
    for concurrency, found in costs.items():
        ratio = statistics.median(one / alone for one, alone in zip(found, costs[1], strict=True))
        print(f"| {concurrency} | {statistics.median(found):.0f} | {ratio:.2f} |", flush=True)


def slow(database: str, *, rounds: int, count: int, hosts: int) -> None:
    """Print what is left of the healthy receivers' rate when some never answer."""
    print("\n| receivers that hang | healthy deliveries per second | share |\n| --- | --- | --- |")
    rates: dict[int, list[float]] = {0: [], 5: [], 20: []}
    for _ in range(rounds):
        for percent, found in rates.items():
            with receiver(hosts=hosts, hanging=hosts * percent // 100) as ports:
                fill(database, ports=ports, count=count, known=True)
                result = run("ours", database=database, seconds=5)
                found.append(_healthy_rate(database, result))
    for percent, found in rates.items():
        share = statistics.median(one / whole for one, whole in zip(found, rates[0], strict=True))
        print(f"| {percent} % | {statistics.median(found):.0f} | {share:.0%} |", flush=True)


def _healthy_rate(database: str, result: dict[str, float]) -> float:
    """Return deliveries per second between the first and the last attempt that was answered."""
    engine = make_engine(database)
    query = (
        "SELECT count(*), min(at), max(at) FROM attempts "
        "WHERE status_code = 200 AND at >= to_timestamp(:since)"
    )
    with engine.connect() as connection:
        count, first, last = connection.execute(text(query), {"since": result["since"]}).one()
    engine.dispose()
    assert count == result["delivered"]
    return float(count / max((last - first).total_seconds(), 0.001))


def main() -> None:
    """Run all and print Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=4_000)
    parser.add_argument("--only", choices=["cost", "flight", "slow"])
    chosen = parser.parse_args()
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    print(f"{machine}, {chosen.count} deliveries, {chosen.rounds} rounds")
    with serve_postgres() as server:
        server.create_database("bench")
        database = server.url("bench")
        engine = make_engine(database)
        upgrade(engine)
        engine.dispose()
        if chosen.only in (None, "cost"):
            cost(database, rounds=chosen.rounds, count=chosen.count)
        if chosen.only in (None, "flight"):
            in_flight(rounds=chosen.rounds, count=chosen.count)
        if chosen.only in (None, "slow"):
            slow(database, rounds=chosen.rounds, count=chosen.count, hosts=100)


if __name__ == "__main__":
    main()
