"""An almost idle system: how long after a Suno task completes its webhook comes, and our own share of that.

Single tasks are put under watch one by one and complete at moments that have nothing to do with the polls.
The gateway notes when it first showed a task as completed, the receiver when its webhook came: what lies
between is our own share. One worker runs all the time; a round is the tasks that complete within one window,
while those of the next are enqueued.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence

from benchmarks.accounting import medians, percentile
from benchmarks.gateway import completion_of, task_id
from benchmarks.programs import peer
from benchmarks.sides import enqueue
from benchmarks.sizes import Sizes
from benchmarks.stage import stage
from benchmarks.wire import ask

CHANCE = random.Random(17)  # noqa: S311 - the same moments in each run
PATIENCE_S = 60.0


def run(sizes: Sizes) -> dict[str, float]:
    """Return the medians of the rounds' percentiles of both spans."""
    interval = sizes.latency_interval_s
    with (
        stage() as set_up,
        peer("gateway") as (gateway,),
        peer("receiver") as (receiver,),
        set_up.database() as database,
        set_up.worker_and_beat(set_up.settings(database=database, gateway=gateway, interval=interval)),
    ):
        rounds = [
            put_under_watch(sizes, database=database, hook=f"http://127.0.0.1:{receiver}/hook", first=first)
            for first in range(0, sizes.rounds * sizes.latency_tasks, sizes.latency_tasks)
        ]
        ask(
            receiver,
            f"/wait/{sizes.rounds * sizes.latency_tasks}",
            patience=2 * (sizes.latency_window_s + interval) + PATIENCE_S,
        )
        came = ask(receiver, "/came")
        shown = ask(gateway, "/stats")["shown"]
    assert isinstance(shown, dict)
    assert sorted(shown) == sorted(came) == sorted(one for ids in rounds for one in ids)
    found = medians([spans(ids, came=came, shown=shown) for ids in rounds])
    return {
        "rounds": len(rounds),
        "latency_tasks": sum(map(len, rounds)),
        "latency_interval_s": interval,
        "latency_p99_over_interval_s": found["latency_p99_s"] - interval,
        **found,
    }


def put_under_watch(sizes: Sizes, *, database: str, hook: str, first: int) -> list[str]:
    """Enqueue a round's tasks one by one over one window; each completes within the next, if at any time."""
    interval, window, count = sizes.latency_interval_s, sizes.latency_window_s, sizes.latency_tasks
    begun = time.time()
    ids = []
    for number in range(count):
        # After its first poll and at any moment between the polls that follow.
        completes_at = begun + window + interval + window * CHANCE.random()
        ids.append(task_id(first + number, completes_at=completes_at))
        enqueue(database, ids=ids[-1:], hook=hook, delay_s=interval)
        threading.Event().wait(max(0.0, begun + window * (number + 1) / count - time.time()))
    return ids


def spans(ids: Sequence[str], *, came: Mapping[str, object], shown: Mapping[str, float]) -> dict[str, float]:
    """Return a round's percentiles."""
    late = [float(str(came[one])) - completion_of(one) for one in ids]
    own = [(float(str(came[one])) - shown[one]) * 1000 for one in ids]
    return {
        "latency_p50_s": percentile(late, 0.5),
        "latency_p99_s": percentile(late, 0.99),
        "latency_own_share_p50_ms": percentile(own, 0.5),
        "latency_own_share_p99_ms": percentile(own, 0.99),
    }
