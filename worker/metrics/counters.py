"""What has happened since the exporter started, as counters and histograms.

Every series of a closed set is there from the start with zero, so that the first event is an increase too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum

from prometheus_client import Counter, Histogram, Metric

from worker.core.lifecycle import TERMINAL, Status
from worker.core.verdicts import PostError
from worker.db.deliveries import Trigger
from worker.db.tail import Moved, Tried
from worker.metrics.gauges import PREFIX

DELIVERED = "2xx"
ANSWERS = (DELIVERED, "3xx", "4xx", "5xx", *(error.value for error in PostError))

# Seconds. One POST ends within 15; due work is begun within one or two; a delivery may take the 47 h of the
# whole schedule, a Suno task its deadline of a day.
DURATIONS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15)
WAITS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
DELIVERY_TIMES = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 24 * 3600, 48 * 3600)
TASK_TIMES = (10, 30, 60, 90, 120, 180, 300, 600, 1800, 3600, 6 * 3600, 24 * 3600)


class Verdict(StrEnum):
    """What an attempt made of its delivery."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    DISCARDED = "discarded"
    LATE = "late"  # too late to decide anything


class Counters:
    """The counters of one exporter."""

    def __init__(self) -> None:
        self._attempts = Counter(
            f"{PREFIX}attempts",
            "POSTs to receivers, by what came back and what it made of the delivery.",
            ["answer", "verdict"],
            registry=None,
        )
        self._attempt = _histogram(
            "attempt_duration_seconds", "How long one POST took, until its answer or its end.", DURATIONS
        )
        self._waits = _histogram(
            "attempt_lag_seconds",
            "From a delivery's due time to its POST; waiting for its receiver's limit or breaker included.",
            WAITS,
        )
        self._deliveries = _histogram(
            "delivery_lag_seconds",
            "From the end of a Suno task to its receiver's 2xx, retries included, resends left out.",
            DELIVERY_TIMES,
        )
        self._transitions = Counter(
            f"{PREFIX}transitions",
            "Suno tasks that reached a status, by gateway; SUBMITTED are those put under watch.",
            ["gateway", "status"],
            registry=None,
        )
        self._tasks = _histogram(
            "task_duration_seconds",
            "From being put under watch to the end of a Suno task.",
            TASK_TIMES,
            labels=["status"],
        )
        self._rejections = Counter(
            f"{PREFIX}rejections", "Requests to watch a task that were refused.", registry=None
        )
        self._fill_in()

    def know_gateways(self, names: Sequence[str]) -> None:
        """Begin the series of gateways that are new."""
        for name in names:
            for status in Status:
                self._transitions.labels(name, status.value)

    def take_attempts(self, attempts: Sequence[Tried]) -> None:
        """Count what was tried."""
        for one in attempts:
            verdict = _verdict(one)
            self._attempts.labels(_answer(one), verdict.value).inc()
            self._attempt.observe(one.duration.total_seconds())
            if one.waited is not None:
                self._waits.observe(one.waited.total_seconds())
            if verdict is Verdict.DELIVERED and one.trigger is not Trigger.RESEND:
                self._deliveries.observe(one.since_end.total_seconds())

    def take_transitions(self, transitions: Sequence[Moved]) -> None:
        """Count which statuses were reached."""
        for one in transitions:
            self._transitions.labels(one.gateway, one.to_status).inc()
            if one.to_status in TERMINAL:
                self._tasks.labels(one.to_status).observe(one.age.total_seconds())

    def take_rejections(self, number: int) -> None:
        """Count refusals."""
        self._rejections.inc(number)

    def collect(self) -> Iterator[Metric]:
        """Return all families."""
        for one in (
            self._attempts,
            self._attempt,
            self._waits,
            self._deliveries,
            self._transitions,
            self._tasks,
            self._rejections,
        ):
            yield from one.collect()

    def _fill_in(self) -> None:
        self._attempts.labels(DELIVERED, Verdict.DELIVERED.value)
        for answer in ANSWERS:
            if answer != DELIVERED:
                for verdict in (Verdict.RETRIED, Verdict.DISCARDED, Verdict.LATE):
                    self._attempts.labels(answer, verdict.value)
        for status in Status:
            if status in TERMINAL:
                self._tasks.labels(status.value)


def _histogram(name: str, meaning: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
    return Histogram(PREFIX + name, meaning, labels, buckets=buckets, registry=None)


def _answer(one: Tried) -> str:
    if one.status_code is None:
        return one.error if one.error in ANSWERS else PostError.INTERNAL.value
    return f"{one.status_code // 100}xx"


def _verdict(one: Tried) -> Verdict:
    if _answer(one) == DELIVERED:
        return Verdict.DELIVERED
    if one.retries:
        return Verdict.RETRIED
    return Verdict.DISCARDED if one.discards else Verdict.LATE
