"""The figures that inform: this machine's, to be compared only with others of the same run."""

from __future__ import annotations

from benchmarks.figures import Figure
from benchmarks.sizes import FULL

SIDES = {
    "ours": f"ours, one worker process, {FULL.tasks:,} tasks",
    "prefork": f"afternoon script, prefork 8, {FULL.afternoon_tasks:,} tasks",
    "threads": f"afternoon script, 64 threads, {FULL.afternoon_tasks:,} tasks",
}
PARTS = {
    "webhooks": ("webhooks that came, one for a task", ""),
    "rate": ("webhooks a second, first to last", ""),
    "worker_ms": ("worker CPU for a task", "ms"),
    "database_ms": ("database CPU for a task", "ms"),
    "broker_ms": ("broker CPU for a task", "ms"),
    "requests": ("gateway requests for a task", ""),
    "p50_s": ("completion to webhook, p50", "s"),
    "p99_s": ("completion to webhook, p99", "s"),
    "peak_mib": ("peak memory of the worker's processes, summed", "MiB"),
}
PEERS = {
    "ours": f"ours, one worker process, {FULL.our_posts:,} webhooks",
    "ours_spread": f"ours, one worker process, {FULL.our_posts:,} webhooks to {FULL.our_hosts} receivers",
    "outbound": f"django-outbound-webhooks, 4 relays, {FULL.outbound_posts:,} webhooks",
    "webhook": f"django-webhook, as documented, prefork 8, {FULL.webhook_posts:,} webhooks",
    "webhook_tuned": f"django-webhook, kept connections, the faster pool, {FULL.webhook_posts:,} webhooks",
}
SENDERS = {
    "ours": "a delivery",
    "client": "a POST by our client alone",
    "bare": "a bare POST, httpx over aiohttp",
    "aiohttp": "a bare POST, aiohttp",
}
SIZES = {"1e4": "10,000", "1e5": "100,000", "1e6": "1,000,000"}
IDLE = {"": "all of `up`", "_up": "`up` itself", "_worker": "worker", "_beat": "Beat", "_broker": "Valkey"}
SPANS = {
    "": f"in all {FULL.slow_s:g} s",
    "_beginning": f"in the first {FULL.slow_timeout_s:g} s, until a request meets its timeout",
    "_settled": f"from {FULL.settled_s:g} s on",
}


def figure(key: str, scenario: str, what: str, unit: str = "") -> Figure:
    """Return a figure without a goal."""
    return Figure(key=key, scenario=scenario, what=what, unit=unit)


ABSOLUTES = (
    *(
        figure(f"end_to_end_{side}_{part}", "end_to_end", f"{name}: {what}", unit)
        for side, name in SIDES.items()
        for part, (what, unit) in PARTS.items()
        if part != "database_ms" or side == "ours"
    ),
    figure("end_to_end_ours_beat_ms", "end_to_end", "ours: Beat's CPU for a task", "ms"),
    figure("end_to_end_bare_worker_ms", "end_to_end", "one bare POST by httpx over aiohttp", "ms"),
    figure("end_to_end_bare_rate", "end_to_end", "bare POSTs by httpx over aiohttp, a second"),
    figure("end_to_end_aiohttp_worker_ms", "end_to_end", "one bare POST by aiohttp", "ms"),
    figure("end_to_end_aiohttp_rate", "end_to_end", "bare POSTs by aiohttp, a second"),
    figure(
        "task_cpu_over_bare_aiohttp_post", "end_to_end", "ours: worker CPU over a bare POST by aiohttp", "×"
    ),
    figure("end_to_end_ours_table_bytes", "end_to_end", "ours: growth of the database for a task", "bytes"),
    figure("end_to_end_ours_wal_bytes", "end_to_end", "ours: WAL for a task", "bytes"),
    *(
        figure(f"peers_{peer}_{part}", "peers", f"{name}: {what}", unit)
        for peer, name in PEERS.items()
        for part, what, unit in (
            ("webhooks", "webhooks that came", ""),
            ("rate", "deliveries a second", ""),
            ("cpu_ms", "CPU of its processes for a delivery", "ms"),
        )
    ),
    figure("delivery_count", "delivery", "deliveries and POSTs of each kind in a round"),
    *(
        figure(f"delivery_{sender}_{part}", "delivery", f"{name}: {what}", unit)
        for sender, name in SENDERS.items()
        for part, what, unit in (("cpu_us", "worker CPU", "µs"), ("per_s", "a second", ""))
    ),
    figure("delivery_database_cpu_us", "delivery", "a delivery: database CPU, all its processes", "µs"),
    figure(
        "delivery_cpu_over_bare_aiohttp_post", "delivery", "a delivery over a bare POST by aiohttp: CPU", "×"
    ),
    figure("post_cpu_over_bare_post", "delivery", "a POST by our client over one by httpx: CPU", "×"),
    figure(
        "delivery_rate_over_bare_loop",
        "delivery",
        "a delivery over a bare POST, httpx: rate of one process",
        "×",
    ),
    *(
        figure(f"sweep_{part}_{size}", "sweep", f"{name} pending: {what} for a task", unit)
        for size, name in SIZES.items()
        for part, what, unit in (
            ("us_per_task", "CPU, all in", "µs"),
            ("worker_us_per_task", "worker CPU", "µs"),
            ("database_us_per_task", "database CPU", "µs"),
            ("wal_bytes_per_task", "WAL", "bytes"),
        )
        if (part, size) != ("us_per_task", "1e6")
    ),
    figure("sweep_us_per_task_get", "sweep", "one GET by the bare client, decoded", "µs"),
    figure("latency_tasks", "latency", "tasks that completed, in all rounds"),
    figure("latency_interval_s", "latency", "the poll interval", "s"),
    figure("latency_p50_s", "latency", "completion to webhook, p50", "s"),
    figure("latency_p99_s", "latency", "completion to webhook, p99", "s"),
    figure("latency_own_share_p50_ms", "latency", "our own share, p50", "ms"),
    *(
        figure(f"healthy_share_{percent}pct_hanging{span}", "slow", f"{percent} % hang: share {words}", "%")
        for percent in (5, 20)
        for span, words in SPANS.items()
        if span
    ),
    figure("slow_hosts", "slow", "receivers in all"),
    *(
        figure(
            f"healthy_per_s_{percent}pct_hanging{span}",
            "slow",
            f"{percent} % hang: webhooks a second at the healthy ones, {words}",
        )
        for percent in (0, 5, 20)
        for span, words in SPANS.items()
    ),
    figure("scale_count", "scale", f"deliveries of a round, over {FULL.scale_hosts} receivers"),
    *(
        figure(f"scale_{part}_{workers}_workers", "scale", f"{workers} worker processes: {what}", unit)
        for workers in (1, 2, 4)
        for part, what, unit in (
            ("per_s", "deliveries a second", ""),
            ("database_us", "database CPU for a delivery", "µs"),
            ("least_share", "least of their shares, over an even one", "%"),
        )
        if (part, workers) != ("least_share", 1)
    ),
    figure(
        "scale_ratio_4_over_1_workers", "scale", "deliveries a second with 4 worker processes, over 1", "×"
    ),
    *(figure(f"idle_memory{part}_mib", "idle", f"memory of {name}", "MiB") for part, name in IDLE.items()),
    figure("enqueue_file_cpu_us", "enqueue", "CPU of the command for a line, its start included", "µs"),
    figure("enqueue_message_broker_bytes", "enqueue", "a `suno.enqueue` message in the broker", "bytes"),
    figure("busy_pending", "busy", "tasks pending"),
    figure("busy_worker_in_flight", "busy", "deliveries in flight in the one worker, all its slots"),
)
