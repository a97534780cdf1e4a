"""What is read at each scrape, as metric families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from worker.core.origins import Breaker
from worker.core.wire import Trouble
from worker.db.figures import Counts, Figures, GatewayFigures
from worker.version import __version__

PREFIX = "suno_worker_"


def gauge(name: str, meaning: str, samples: Mapping[str, float], *, label: str) -> GaugeMetricFamily:
    """Return a gauge with one sample for each value of its label."""
    family = GaugeMetricFamily(PREFIX + name, meaning, labels=[label])
    for value, number in samples.items():
        family.add_metric([value], number)
    return family


def plain(name: str, meaning: str, number: float) -> GaugeMetricFamily:
    """Return a gauge without labels."""
    return GaugeMetricFamily(PREFIX + name, meaning, value=number)


def build_info() -> Metric:
    """Return which version speaks."""
    return gauge("build_info", "1; the exporter's version.", {__version__: 1}, label="version")


def of_figures(figures: Figures) -> Iterator[Metric]:
    """Return the gauges that are cheap."""
    yield gauge(
        "oldest_due_seconds",
        "How long the oldest due work has waited for a worker; 0 when none is due.",
        {
            "poll": figures.oldest_due_poll.total_seconds(),
            "delivery": figures.oldest_due_delivery.total_seconds(),
        },
        label="work",
    )
    yield gauge(
        "receivers",
        "Receiving hosts by the state of their breaker.",
        {one.value: figures.receivers[one] for one in Breaker},
        label="breaker",
    )
    yield from _of_gateways(figures.gateways)


def of_counts(counts: Counts, *, at: datetime) -> Iterator[Metric]:
    """Return the gauges that are counted once a minute."""
    yield gauge(
        "tasks",
        "Suno tasks that have not ended, by status; counted once a minute.",
        {status.value: number for status, number in counts.pending_tasks.items()},
        label="status",
    )
    yield plain(
        "finished_tasks",
        "Suno tasks that have ended and are kept; counted once a minute.",
        counts.finished_tasks,
    )
    yield gauge(
        "deliveries",
        "Deliveries that are kept, by state; counted once a minute.",
        {state.value: number for state, number in counts.deliveries.items()},
        label="state",
    )
    yield plain("counted_timestamp_seconds", "When what is kept was last counted.", at.timestamp())


def _of_gateways(gateways: tuple[GatewayFigures, ...]) -> Iterator[Metric]:
    yield gauge(
        "pending_tasks",
        "Suno tasks that have not ended, by gateway.",
        {one.name: one.pending for one in gateways},
        label="gateway",
    )
    yield gauge(
        "gateway_configured",
        "1 when a worker has the gateway in its settings, else 0: nobody polls its tasks.",
        {one.name: one.is_configured for one in gateways},
        label="gateway",
    )
    yield gauge(
        "gateway_cooldown_seconds",
        "How long the gateway is still left alone; 0 when it may be asked.",
        {one.name: one.cooling_for.total_seconds() for one in gateways},
        label="gateway",
    )
    yield gauge(
        "gateway_failures",
        "Bad answers of the gateway in a row.",
        {one.name: one.failures for one in gateways},
        label="gateway",
    )
    trouble = GaugeMetricFamily(
        f"{PREFIX}gateway_trouble",
        "1 for what the gateway's last bad answer was, until a good one.",
        labels=["gateway", "trouble"],
    )
    for one in gateways:
        for word in Trouble:
            trouble.add_metric([one.name, word.value], one.trouble is word)
    yield trouble
