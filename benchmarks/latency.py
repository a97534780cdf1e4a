"""An almost idle system: how long after a Suno task completes its webhook comes, and our own share of that.

Single tasks complete at moments that have nothing to do with the polls. The gateway notes when it first
showed a task as completed, the receiver when its webhook came: what lies between is our own share.
"""

from __future__ import annotations

import random
import threading
import time

from benchmarks.accounting import percentile
from benchmarks.gateway import completion_of, task_id
from benchmarks.sides import enqueue
from benchmarks.sizes import Sizes
from benchmarks.stage import peer, stage
from benchmarks.wire import ask

ENQUEUED_WITHIN_S = 15.0
CHANCE = random.Random(17)  # noqa: S311 - the same moments in each run


def run(sizes: Sizes) -> dict[str, float]:
    """Return the percentiles of both spans."""
    interval, count = sizes.latency_interval_s, sizes.latency_tasks
    with (
        stage() as set_up,
        peer("gateway") as (gateway,),
        peer("receiver") as (receiver,),
        set_up.database() as database,
        set_up.worker_and_beat(set_up.settings(database=database, gateway=gateway, interval=interval)),
    ):
        first = time.time() + ENQUEUED_WITHIN_S + 2 * interval
        moments = [first + sizes.latency_window_s * CHANCE.random() for _ in range(count)]
        ids = [task_id(number, completes_at=moment) for number, moment in enumerate(moments)]
        for one in ids:
            hook = f"http://127.0.0.1:{receiver}/hook"
            enqueue(database, ids=[one], hook=hook, delay_s=interval)
            threading.Event().wait(ENQUEUED_WITHIN_S / count)
        ask(receiver, f"/wait/{count}", patience=first - time.time() + sizes.latency_window_s + 60)
        came = {one: float(str(moment)) for one, moment in ask(receiver, "/came").items()}
        shown = ask(gateway, "/stats")["shown"]
    assert isinstance(shown, dict)
    late = [came[one] - completion_of(one) for one in ids]
    own = [came[one] - float(shown[one]) for one in ids]
    return {
        "latency_interval_s": interval,
        "latency_p50_s": percentile(late, 0.5),
        "latency_p99_s": percentile(late, 0.99),
        "latency_p99_over_interval_s": percentile(late, 0.99) - interval,
        "latency_own_share_p50_ms": percentile(own, 0.5) * 1000,
        "latency_own_share_p99_ms": percentile(own, 0.99) * 1000,
    }
