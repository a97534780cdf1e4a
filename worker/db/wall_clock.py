"""The clock of a SQLite file: this machine's wall clock, and what happens when somebody sets it.

All that is due stands in the file as moments of the wall clock. Were they left alone when it is set back an
hour, nothing would be due for an hour; when it is set forward, every lease would end, every retry come early,
and every task be an hour older. So the file knows when its machine was started, by the clock in which its
moments are written (`clock.booted_at`). The first writer that finds the wall clock set otherwise moves all
moments that something waits for by as much, in a transaction of its own, and goes on: what was due in 20 s is
due in 20 s. Between two looks time is taken from `uptime`, so one transaction never sees two clocks.

Limits: steps below 2 s are left alone. While the machine is off, nobody can tell a step from time that has
passed. Only on Linux; elsewhere the file follows the wall clock as it is. PostgreSQL's clock is its server's.
All processes that write a file have to see one pair of clocks. Where they do not, though they say that it is
the same boot (containers with time namespaces of their own, programs under `faketime`), each writer takes the
other's clock for one that was set and moves what waits there and back: that is not told from a real step.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection

from worker.uptime import boot_name, booted_at, uptime

SMALLEST_STEP_S = 2.0

# What waits, and since when: (table, columns, the rows that are not over).
MOMENTS = (
    # `last_polled_at` is history, but that it equals `next_poll_at` marks a batch in trouble.
    ("poll_batches", ("next_poll_at", "leased_until", "youngest_at", "last_polled_at"), "true"),
    ("suno_tasks", ("enqueued_at", "stuck_since_at"), "poll_batch_id IS NOT NULL"),
    ("deliveries", ("next_attempt_at", "leased_until"), "state = 'PENDING'"),
    ("origins", ("next_claim_at", "open_until", "delivered_at", "last_used_at"), "true"),
    ("gateways", ("cooling_until", "configured_at"), "true"),
)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class WallClock:
    """One process's view of the clock of one file. `booted_at` is None until a writer has looked."""

    booted_at: float | None = None

    def now(self) -> datetime:
        """Return the time in which the file's moments are written."""
        begun = booted_at() if self.booted_at is None else self.booted_at
        return datetime.fromtimestamp(begun + uptime(), UTC)

    def is_followed(self) -> bool:
        """Say whether the wall clock is as it was when a writer looked last."""
        return self.booted_at is not None and abs(booted_at() - self.booted_at) < SMALLEST_STEP_S

    def follow(self, connection: Connection) -> None:
        """Move what waits if the wall clock was set, in the writing transaction that was begun; commit that.

        This process goes by the new clock only once the file does: a full disk may refuse the move.
        """
        followed = self._follow(connection)
        connection.exec_driver_sql("COMMIT")
        self.booted_at = followed

    def _follow(self, connection: Connection) -> float:
        begun, boot = booted_at(), boot_name()
        if connection.exec_driver_sql("SELECT 1 FROM sqlite_master WHERE name = 'clock'").first() is None:
            return begun  # not migrated yet: nothing waits
        known = connection.exec_driver_sql("SELECT boot, booted_at FROM clock").one_or_none()
        if known is not None and boot is not None and known.boot == boot:
            step = begun - known.booted_at
            if abs(step) < SMALLEST_STEP_S:
                return float(known.booted_at)
            _move(connection, step=step)
        connection.exec_driver_sql(
            "INSERT INTO clock (id, boot, booted_at) VALUES (1, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET boot = excluded.boot, booted_at = excluded.booted_at",
            (boot or "", begun),
        )
        return begun


def _move(connection: Connection, *, step: float) -> None:
    """Bring every moment that something waits for as much nearer or farther as the clock was set."""
    for table, columns, rows in MOMENTS:
        # The text that `UtcDateTime` writes, with SQLite's milliseconds.
        moved = ", ".join(
            f"{column} = strftime('%Y-%m-%d %H:%M:%f', {column}, '{step:+.3f} seconds') || '000'"
            for column in columns
        )
        connection.exec_driver_sql(f"UPDATE {table} SET {moved} WHERE {rows}")  # noqa: S608 - our own words
    logger.warning("this machine's clock was set by %+.0f s; everything that waits moves with it", step)
