"""What stands beside the work: the clock of a SQLite file, and the requests that were refused."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Double, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from worker.db.models.base import Base
from worker.db.types import RowId


class Clock(Base):
    """The one row of a SQLite file that tells when its wall clock was set; see `worker.db.wall_clock`.

    PostgreSQL has a clock of its own and leaves the table empty.
    """

    __tablename__ = "clock"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # 1
    boot: Mapped[str] = mapped_column(String(64))  # which start of the machine; "" where that has no name
    booted_at: Mapped[float] = mapped_column(Double)  # unix seconds of it, by the clock of all other columns


class Rejection(Base):
    """A request to watch a task that was refused: its sender may not have been listening."""

    __tablename__ = "rejections"
    __table_args__ = (Index("ix_rejections_at", "at"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    at: Mapped[datetime]
    source: Mapped[str] = mapped_column(String(64))  # the door: `celery:<message id>`, …
    reason: Mapped[str] = mapped_column(Text)
    arguments: Mapped[str] = mapped_column(Text)  # JSON, cut at 4,096 characters
