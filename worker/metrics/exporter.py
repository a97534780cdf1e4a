"""One scrape: read what is cheap, feed the counters, and say what could not be read.

A part that fails is missing from the answer and counted in `exporter_errors_total`; the others are there. A
database that is away is `database_up` 0 and no error of the scrape, so that an alert can tell the exporter's
death from the database's. Each part has a time limit: one that would take longer is given up. The broker is
read beside the database, so that the slower of the two and not their sum makes a scrape long.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from prometheus_client import Counter, Metric
from prometheus_client.registry import Collector
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from worker.db.bounded import reading_within
from worker.db.clock import read_now
from worker.db.figures import Counts, Figures, read_counts, read_figures
from worker.db.persist import describe
from worker.db.session import Sessions
from worker.metrics import gauges
from worker.metrics.broker import read_broker
from worker.metrics.counters import Counters
from worker.metrics.events import Events
from worker.told import told

T = TypeVar("T")

# Prometheus gives up a scrape after 10 s by default. These and those of `Events` together stay below it, and
# the broker's beside them; a database that has gone silent ends the first that asks it, and so all of them.
GONE_AFTER = timedelta(seconds=3)
FIGURES_LIMIT = timedelta(seconds=3)
COUNTS_LIMIT = timedelta(seconds=3)
COUNTS_KEPT_FOR_S = 55.0  # a scrape each minute finds them old

logger = logging.getLogger(__name__)


class Part(StrEnum):
    """What is read apart from the others."""

    FIGURES = "figures"
    EVENTS = "events"
    COUNTS = "counts"
    BROKER = "broker"


class Exporter(Collector):
    """Everything that Prometheus is told; one scrape at a time."""

    def __init__(
        self, *, sessions: Sessions, queues: Sequence[str], broker_url: Callable[[], str | None]
    ) -> None:
        """Make an exporter; `broker_url` is asked at each scrape, as an embedded broker comes and goes."""
        self._sessions = sessions
        self._queues = queues
        self._broker_url = broker_url
        self._lock = threading.Lock()
        self._counters = Counters()
        self._events = Events(sessions=sessions, counters=self._counters)
        self._counts: tuple[Counts, datetime] | None = None
        self._counted_at = float("-inf")  # monotonic seconds of the last try
        self._seconds: dict[str, float] = {}
        self._said: dict[Part, str] = {}
        self._errors = Counter(
            f"{gauges.PREFIX}exporter_errors",
            "Parts of scrapes that could not be read.",
            ["part"],
            registry=None,
        )
        for part in Part:
            self._errors.labels(part.value)

    def collect(self) -> Iterator[Metric]:
        """Read, and return all families."""
        with self._lock:
            yield from self._look()

    def _look(self) -> list[Metric]:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="suno-worker-broker-look") as beside:
            looking = beside.submit(self._read, Part.BROKER, self._read_broker)
            figures = self._read(Part.FIGURES, self._read_figures)
            if figures is not None:
                self._counters.know_gateways([one.name for one in figures.gateways])
                self._read(Part.EVENTS, self._events.read)
                self._count_if_old()
            lists = looking.result()
        families = [
            gauges.build_info(),
            gauges.plain("database_up", "1 when the database answered in time.", figures is not None),
            gauges.plain("broker_up", "1 when the broker answered in time.", lists is not None),
            *([] if figures is None else gauges.of_figures(figures)),
            *([] if self._counts is None else gauges.of_counts(self._counts[0], at=self._counts[1])),
            *([] if lists is None else lists),
            *self._counters.collect(),
            gauges.gauge(
                "exporter_read_seconds", "How long the last reading took.", self._seconds, label="part"
            ),
        ]
        return [*families, *self._errors.collect()]

    def _read(self, part: Part, work: Callable[[], T]) -> T | None:
        """Return what `work` brings; None, counted and told once, when it cannot be had."""
        begun = time.monotonic()
        try:
            found = work()
        except (SQLAlchemyError, RedisError, OSError) as error:
            self._errors.labels(part.value).inc()
            self._tell(part, describe(error))
            return None
        else:
            self._tell(part, "")
            return found
        finally:
            self._seconds[part.value] = time.monotonic() - begun

    def _tell(self, part: Part, reason: str) -> None:
        if reason and reason != self._said.get(part):
            logger.warning(told("part_missing", f"cannot be read: {reason}", part=part))
        elif not reason and self._said.get(part):
            logger.info(told("part_back", "can be read again", part=part))
        self._said[part] = reason

    def _read_figures(self) -> Figures:
        with reading_within(self._sessions, limit=FIGURES_LIMIT) as session:
            return read_figures(session, now=read_now(session))

    def _count_if_old(self) -> None:
        if time.monotonic() - self._counted_at < COUNTS_KEPT_FOR_S:
            return
        self._counted_at = time.monotonic()
        self._counts = self._read(Part.COUNTS, self._count) or self._counts

    def _count(self) -> tuple[Counts, datetime]:
        with reading_within(self._sessions, limit=COUNTS_LIMIT) as session:
            return read_counts(session), read_now(session)

    def _read_broker(self) -> list[Metric]:
        url = self._broker_url()
        if url is None:
            raise ConnectionError("no broker is known")
        return read_broker(url, queues=self._queues)
