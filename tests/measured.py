"""A quick run of one scenario of the benchmark, with what each of its sides must have counted."""

from __future__ import annotations

from benchmarks.__main__ import run
from benchmarks.absolutes import ABSOLUTES
from benchmarks.figures import RATIOS
from benchmarks.scenarios import SCENARIOS
from benchmarks.sizes import QUICK
from worker.dispatcher import SLOTS

# Those that take seconds; the others need a minute together, most of it the peers' own start.
CHEAP = ("delivery", "enqueue", "idle", "scale", "slow")
COUNTS: dict[str, dict[str, float]] = {
    "end_to_end": {
        "end_to_end_ours_webhooks": QUICK.tasks,
        "end_to_end_prefork_webhooks": QUICK.afternoon_tasks,
        "end_to_end_threads_webhooks": QUICK.afternoon_tasks,
    },
    "peers": {
        "peers_ours_webhooks": QUICK.our_posts,
        "peers_ours_spread_webhooks": QUICK.our_posts,
        "peers_outbound_webhooks": QUICK.outbound_posts,
        "peers_webhook_webhooks": QUICK.webhook_posts,
        "peers_webhook_tuned_webhooks": QUICK.webhook_posts,
    },
    "delivery": {"delivery_count": QUICK.delivery_posts},
    "sweep": {"task_row_writes_per_unchanged_poll": 0},
    "latency": {"latency_tasks": QUICK.latency_tasks},
    "slow": {"slow_hosts": QUICK.slow_hosts},
    "scale": {"scale_count": QUICK.scale_posts},
    "busy": {
        "busy_pending": QUICK.pending[-1],
        "busy_worker_in_flight": SLOTS,
    },
}
# What is rare, and a wait that may have been shorter than the interval.
MAY_BE_ZERO = {"task_row_writes_per_unchanged_poll", "latency_p99_over_interval_s"}


def measured(name: str) -> None:
    """Run a scenario: it gives exactly the figures that are named for it, from the counts that were asked."""
    figures, failure = run(SCENARIOS[name], quick=True, rounds=1)

    assert failure is None
    assert figures is not None
    assert figures.pop("rounds") == 1
    assert set(figures) == {one.key for one in (*RATIOS, *ABSOLUTES) if one.scenario == name}
    assert figures | COUNTS.get(name, {}) == figures
    assert [key for key, value in figures.items() if value <= 0 and key not in MAY_BE_ZERO] == []
