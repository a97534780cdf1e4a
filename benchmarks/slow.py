"""What receivers that begin to hang cost the others.

One worker process delivers from an outbox that is full for every receiver, and all of them answer: that is
their past. Then, from one moment on, some take each request and never answer. What is counted is what came
at the healthy ones, by the receivers' own clock, with the timeout of WORKER_WEBHOOK_TIMEOUT as it is by
default: over the whole window, in its *beginning*, until the first request has run into its timeout, and
once it has *settled*.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Event

from sqlalchemy import text

from benchmarks.accounting import median_ratio
from benchmarks.deliveries import fill
from benchmarks.programs import peer, running
from benchmarks.sizes import Sizes
from benchmarks.stage import Stage, stage
from benchmarks.wire import ask
from worker.db.session import make_engine
from worker.dispatcher import SLOTS

HANGING = (0, 5, 20)  # per cent of the receivers
WARM_UP = 20  # webhooks to each receiver before some begin to hang
ANSWERED = "SELECT count(*) FROM attempts WHERE status_code = 200"
LEFT = (
    "SELECT origin, count(*) FROM deliveries WHERE state = 'PENDING' AND next_attempt_at <= now() GROUP BY 1"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What all rounds share; the first ports are those that hang."""

    stage: Stage
    sizes: Sizes
    ports: list[int]

    def tell(self, question: str) -> Mapping[str, object]:
        """Ask the receivers."""
        return ask(self.ports[-1], question)


def run(sizes: Sizes) -> dict[str, float]:
    """Return what is left of the healthy receivers' rate when some begin to hang."""
    found: dict[int, list[dict[str, float]]] = {percent: [] for percent in HANGING}
    with stage() as set_up, peer("receiver", f"--hosts={sizes.slow_hosts}") as ports:
        play = Play(stage=set_up, sizes=sizes, ports=ports)
        with set_up.database("full") as full:
            fill(full, ports=ports, count=sizes.slow_posts, known=True, due=True)
            for _ in range(sizes.rounds):
                for percent, rounds in found.items():
                    rounds.append(rates(play, hanging=sizes.slow_hosts * percent // 100))
    return {"rounds": len(found[0]), "slow_hosts": sizes.slow_hosts, **figures(found)}


def rates(play: Play, *, hanging: int) -> dict[str, float]:
    """Deliver for one window, at whose begin so many begin to hang; return webhooks a second by span."""
    sizes = play.sizes
    play.tell("/hang/0")
    play.tell("/forget")
    with play.stage.database(template="full") as database:
        log = play.stage.folder / "deliver.log"
        command = [sys.executable, "-m", "benchmarks.deliver", f"--database={database}", f"--log={log}"]
        command += [f"--timeout={sizes.slow_timeout_s}"]
        with running(command, settings={}, log=play.stage.folder / "deliver.out", ready=""):
            play.tell(f"/wait/{WARM_UP * sizes.slow_hosts}")
            since = float(str(play.tell(f"/hang/{hanging}")["at"]))
            Event().wait(sizes.slow_s)
        moments = [float(str(one)) - since for one in play.tell("/came").values()]
        check(play, database=database, came=len(moments), hanging=hanging)
    spans = {
        "": (0.0, sizes.slow_s),
        "_beginning": (0.0, sizes.slow_timeout_s),
        "_settled": (sizes.settled_s, sizes.slow_s),
    }
    return {name: rate(moments, *span) for name, span in spans.items()}


def rate(moments: Iterable[float], begin: float, end: float) -> float:
    """Return how many a second came within a span."""
    return sum(begin <= one < end for one in moments) / (end - begin)


def check(play: Play, *, database: str, came: int, hanging: int) -> None:
    """End a scenario that measured something else.

    The database knows of what came, those apart that were in flight at the end; each of those that hang had
    requests that it did not answer, and no other; and work was left for each of the healthy ones.
    """
    engine = make_engine(database)
    with engine.connect() as connection:
        answered = int(connection.scalar(text(ANSWERED)) or 0)
        left = {str(origin): int(count) for origin, count in connection.execute(text(LEFT))}
    engine.dispose()
    assert came - SLOTS <= answered <= came, f"{came} came, {answered} are recorded"
    hung = play.tell("/hung")
    assert sorted(map(int, hung)) == list(range(hanging)), f"{sorted(hung)} hung, {hanging} should have"
    dry = [port for port in play.ports[hanging:] if not left.get(f"http://127.0.0.1:{port}")]
    assert not dry, f"nothing was left for {len(dry)} of the healthy receivers: slow_posts is too small"


def figures(found: Mapping[int, list[dict[str, float]]]) -> dict[str, float]:
    """Return flat keys: shares of the rate of all receivers in the rounds' runs without any that hangs."""
    flat: dict[str, float] = {}
    for percent, rounds in found.items():
        for span in rounds[0]:
            rate = [one[span] for one in rounds]
            flat[f"healthy_per_s_{percent}pct_hanging{span}"] = statistics.median(rate)
            if percent:
                calm = [one[span] for one in found[0]]
                flat[f"healthy_share_{percent}pct_hanging{span}"] = median_ratio(rate, calm)
    return flat
