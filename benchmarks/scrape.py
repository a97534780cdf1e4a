"""What one scrape costs the exporter, with a million finished Suno tasks and a hundred thousand pending.

    python -m benchmarks.scrape [--finished 1000000] [--pending 100000]

Each finished task has 1.3 KB of data, three transitions, a delivery and an attempt; a tenth as many pending
deliveries wait for 1,000 receivers. Between two scrapes 1,000 attempts come, as in 15 s of a busy hour. The
first scrape also counts everything kept, as one scrape a minute does; the others do not.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine, text

from benchmarks.fill import NOW, SERIES, take_your_time
from tests.servers import serve_postgres
from worker.db.migrate import upgrade
from worker.db.session import make_engine, make_sessions
from worker.metrics.exporter import Exporter

SCRAPES = 10
NEW_ATTEMPTS = 1_000

HASH = {"postgresql": "md5(n::text)", "sqlite": "hex(n * 2654435761)"}
REPEAT = {"postgresql": "repeat({hash}, 40)", "sqlite": "replace(hex(zeroblob(64)), '00', {hash})"}

FILL = (
    "INSERT INTO gateways (name, batch_size, failures, configured_at) VALUES ('hub', 100, 0, {now})",
    """INSERT INTO origins (origin, last_used_at, next_claim_at)
       SELECT 'https://h' || n || '.example:443', {now}, {now} FROM ({thousand}) AS numbers""",
    """INSERT INTO poll_batches (id, gateway, action, size, next_poll_at, youngest_at)
       SELECT n, 'hub', 'MUSIC', 100, {now}, {now} FROM ({batches}) AS numbers""",
    """INSERT INTO suno_tasks (id, gateway, task_id, action, notify_hook, status, progress, data, enqueued_at,
                               finished_at, poll_batch_id)
       SELECT n, 'hub', 'task-' || n, 'MUSIC', 'https://h.example/hook',
              CASE WHEN n > :finished THEN CASE n % 2 WHEN 0 THEN 'SUBMITTED' ELSE 'IN_PROGRESS' END
                   WHEN n % 20 = 0 THEN 'FAILURE' ELSE 'SUCCESS' END, 50,
              CASE WHEN n <= :finished THEN '["' || {data} || '"]' END, {now},
              CASE WHEN n <= :finished THEN {now} END,
              CASE WHEN n > :finished THEN (n - :finished - 1) / 100 + 1 END
       FROM ({all}) AS numbers""",
    """INSERT INTO transitions (suno_task_id, from_status, to_status, at)
       SELECT suno_tasks.id, steps.before, steps.after, enqueued_at FROM suno_tasks
       JOIN (SELECT NULL AS before, 'SUBMITTED' AS after UNION ALL SELECT 'SUBMITTED', 'IN_PROGRESS'
             UNION ALL SELECT 'IN_PROGRESS', 'SUCCESS') AS steps ON finished_at IS NOT NULL""",
    """INSERT INTO deliveries (id, suno_task_id, event, notify_hook, origin, state, attempt_count,
                               next_attempt_at, claims, created_at, delivered_at)
       SELECT 'msg_' || id, id, 'finished', notify_hook, 'https://h' || (id % 1000 + 1) || '.example:443',
              CASE WHEN id % 10 = 0 THEN 'PENDING' ELSE 'DELIVERED' END, 1, {now}, 1, finished_at,
              CASE WHEN id % 10 <> 0 THEN {now} END
       FROM suno_tasks WHERE finished_at IS NOT NULL""",
    """INSERT INTO attempts (delivery_id, number, at, "trigger", duration_ms, request_bytes, request_sha256,
                             status_code, next_attempt_at)
       SELECT id, 1, created_at, 'schedule', 120, 1500, :sha256, CASE state WHEN 'DELIVERED' THEN 200 END,
              CASE state WHEN 'PENDING' THEN next_attempt_at END
       FROM deliveries""",
)
NEW = """INSERT INTO attempts (delivery_id, number, at, "trigger", duration_ms, request_bytes, request_sha256,
                               status_code)
         SELECT id, 2, {now}, 'schedule', 80, 1500, :sha256, 200 FROM deliveries
         ORDER BY id LIMIT :new OFFSET :offset"""


def fill(engine: Engine, *, finished: int, pending: int) -> None:
    """Put rows into an empty, migrated database."""
    name = engine.dialect.name
    hashed = HASH[name]
    parts = {
        "now": NOW[name],
        "data": REPEAT[name].format(hash=hashed),
        "thousand": SERIES[name].replace(":count", "1000"),
        "batches": SERIES[name].replace(":count", str(pending // 100)),
        "all": SERIES[name].replace(":count", str(finished + pending)),
    }
    with engine.begin() as connection:
        take_your_time(connection)
        for statement in FILL:
            wanted = {"finished": finished, "sha256": "0" * 64}
            names = {key: value for key, value in wanted.items() if f":{key}" in statement}
            connection.execute(text(statement.format(**parts)), names)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT", sqlite_begin="DEFERRED") as tidy:
        take_your_time(tidy)
        tidy.execute(text("VACUUM ANALYZE" if name == "postgresql" else "ANALYZE"))


def measure(engine: Engine) -> None:
    """Scrape and print how long it took."""
    exporter = Exporter(sessions=make_sessions(engine), queues=(), broker_url=lambda: None)
    registry = CollectorRegistry()
    registry.register(exporter)
    first = scrape(registry)
    idle = [scrape(registry) for _ in range(SCRAPES)]
    busy = []
    for number in range(SCRAPES):
        with engine.begin() as connection:
            wanted = {"sha256": "0" * 64, "new": NEW_ATTEMPTS, "offset": number * NEW_ATTEMPTS}
            connection.execute(text(NEW.format(now=NOW[engine.dialect.name])), wanted)
        busy.append(scrape(registry))
    errors = [line for line in generate_latest(registry).decode().splitlines() if "errors_total{" in line]
    assert [line for line in errors if "broker" not in line and not line.endswith(" 0.0")] == [], errors
    print(
        f"{engine.dialect.name}: with counts {first:.0f} ms; "
        f"idle {median(idle):.1f} ms (most {max(idle):.1f}); "
        f"{NEW_ATTEMPTS:,} new attempts {median(busy):.1f} ms (most {max(busy):.1f})",
        flush=True,
    )


def scrape(registry: CollectorRegistry) -> float:
    """Return the milliseconds of one."""
    begun = time.perf_counter()
    generate_latest(registry)
    return (time.perf_counter() - begun) * 1000


def main() -> None:
    """Measure on both databases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--pending", type=int, default=100_000)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve_postgres() as server:
        for url in (f"sqlite:///{Path(folder) / 'worker.db'}", server.url()):
            engine = make_engine(url)
            upgrade(engine)
            fill(engine, finished=chosen.finished, pending=chosen.pending)
            measure(engine)
            engine.dispose()


if __name__ == "__main__":
    main()
