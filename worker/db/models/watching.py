"""What is watched: gateways, the requests that ask them, Suno tasks and how their statuses changed."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from worker.db.models.base import Base, partial_index
from worker.db.types import RowId


class Gateway(Base):
    """A gateway's name and its health, shared by all workers; its address and key are settings.

    Filled by `migrate` and by each worker's start. The row is also the lock under which workers count a
    gateway's live leases before they claim more.
    """

    __tablename__ = "gateways"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    batch_size: Mapped[int] = mapped_column(server_default=text("100"))  # most tasks of one poll batch
    configured_at: Mapped[datetime | None]  # when a worker or `migrate` last had it in its settings
    cooling_until: Mapped[datetime | None]  # no claims before; set by a bad answer, cleared by a good one
    # bad answers in a row, those that came during one cool-down counted once
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    trouble: Mapped[str | None] = mapped_column(String(16))  # the last bad answer's; cleared by a good one
    last_error: Mapped[str | None] = mapped_column(Text)  # one line, masked; cleared by a good answer
    last_error_at: Mapped[datetime | None]


class PollBatch(Base):
    """One future request to a gateway. Deleted when its last Suno task has ended or moved to another batch.

    An enqueue makes its own and touches no other. Only a claim of the poller moves tasks between batches that
    nobody has leased, so that requests stay full while tasks end. Ids are never used again, as the record of
    a dead worker may still name one.
    """

    __tablename__ = "poll_batches"
    __table_args__ = (
        CheckConstraint("size >= 0", name="size"),
        Index("ix_poll_batches_due", "gateway", "next_poll_at"),
        partial_index("ix_poll_batches_leased", "gateway", "leased_until", where="leased_until IS NOT NULL"),
        partial_index(  # what a claim fills its requests with; most batches of a busy gateway are full
            "ix_poll_batches_thin",
            "gateway",
            "action",
            "next_poll_at",
            where="leased_until IS NULL AND size < 90",
        ),
        {"sqlite_autoincrement": True},  # PostgreSQL's numbers come from a sequence
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    gateway: Mapped[str] = mapped_column(ForeignKey("gateways.name"))
    action: Mapped[str] = mapped_column(String(16))
    size: Mapped[int] = mapped_column(server_default=text("0"))  # Suno tasks in it; written with them
    next_poll_at: Mapped[datetime]  # when it is due; during a lease, the lease's end
    leased_until: Mapped[datetime | None]  # set by a claim, cleared by its record
    claims: Mapped[int] = mapped_column(server_default=text("0"))  # fencing token: +1 for each claim
    youngest_at: Mapped[datetime]  # `enqueued_at` of its youngest task: its age, hence its cadence
    last_polled_at: Mapped[datetime | None]  # last answer, good or bad
    # The gateway refused it as a whole, or the one id in it: never merged with others until it is answered.
    alone: Mapped[bool] = mapped_column(server_default=text("false"))


class SunoTask(Base):
    """One generation at a gateway that we watch until it ends.

    While it is pending it belongs to a poll batch; the check constraint makes a pending task outside all
    batches, which nobody would ever poll, impossible to store. Polls that change nothing write nothing here.
    """

    __tablename__ = "suno_tasks"
    __table_args__ = (
        UniqueConstraint("gateway", "task_id"),
        CheckConstraint(
            "(poll_batch_id IS NULL) = (status IN ('SUCCESS', 'FAILURE'))", name="pending_in_batch"
        ),
        CheckConstraint("(finished_at IS NOT NULL) = (status IN ('SUCCESS', 'FAILURE'))", name="finished"),
        CheckConstraint("status IN ('SUBMITTED', 'IN_PROGRESS', 'SUCCESS', 'FAILURE')", name="status"),
        CheckConstraint("action IN ('MUSIC', 'LYRICS')", name="action"),
        partial_index("ix_suno_tasks_pending", "poll_batch_id", where="poll_batch_id IS NOT NULL"),
        partial_index("ix_suno_tasks_finished", "finished_at", where="finished_at IS NOT NULL"),
        Index("ix_suno_tasks_task_id", "task_id"),
    )

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    gateway: Mapped[str] = mapped_column(ForeignKey("gateways.name"))
    task_id: Mapped[str] = mapped_column(String(191))
    action: Mapped[str] = mapped_column(String(16))
    notify_hook: Mapped[str | None] = mapped_column(String(2048))  # None: the task is only watched
    status: Mapped[str] = mapped_column(String(16))
    upstream_status: Mapped[str | None] = mapped_column(String(64))  # the gateway's own word
    progress: Mapped[int] = mapped_column(server_default=text("0"))  # per cent, in steps of 10
    fail_reason: Mapped[str] = mapped_column(Text, server_default=text("''"))
    absences: Mapped[int] = mapped_column(server_default=text("0"))  # good answers in a row without it
    stuck_since_at: Mapped[datetime | None]  # first sight of the stuck state; cleared when it leaves it
    upstream_submitted_at: Mapped[datetime | None]  # the gateway's own clock, written with the end
    upstream_started_at: Mapped[datetime | None]
    upstream_finished_at: Mapped[datetime | None]
    data: Mapped[str | None] = mapped_column(Text)  # the gateway's own JSON text, written with the end
    enqueued_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]  # when we recorded the end
    last_polled_at: Mapped[datetime | None]  # written with the end; until then its batch has it
    poll_batch_id: Mapped[int | None] = mapped_column(ForeignKey("poll_batches.id"))


class Transition(Base):
    """One change of a Suno task's status. Never changed."""

    __tablename__ = "transitions"
    __table_args__ = (Index("ix_transitions_suno_task_id", "suno_task_id"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    suno_task_id: Mapped[int] = mapped_column(ForeignKey("suno_tasks.id"))
    from_status: Mapped[str | None] = mapped_column(String(16))  # None: it was put under watch
    to_status: Mapped[str] = mapped_column(String(16))
    at: Mapped[datetime]
