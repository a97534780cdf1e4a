"""The tables: what is due, what was claimed, what happened.

Rows are the truth and Celery's messages are only doorbells, so everything that must survive a crash is here
and is found again by one indexed look at a due time. Two tables are worked like queues, in the same way:

* `poll_batches`: one row is one future request to a gateway; at most 100 Suno tasks belong to it.
* `deliveries`: the outbox; one row is one result owed to one endpoint, written in the transaction of the
  terminal transition.

A *claim* pushes the row's due time to the end of its lease and increments `claims`, the fencing token. A
*record* is guarded by the `claims` that it saw. A worker that dies leaves a row that becomes due again by
itself when the lease ends, so there is no rescuer and nothing can be stuck. The cost: one more write per
claim than a lock held open; but no transaction stays open while a gateway or receiver takes its time.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    Double,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from worker.db.types import OriginName, RowId, UtcDateTime

# Names are made from the convention, so that a migration can drop what another made on either database.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """All tables of suno-worker."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime()}  # noqa: RUF012 - SQLAlchemy reads it as a plain class attribute


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
    trouble: Mapped[str | None] = mapped_column(
        String(16)
    )  # what the last bad answer was; cleared by a good one
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
        Index(
            "ix_poll_batches_leased",
            "gateway",
            "leased_until",
            postgresql_where=text("leased_until IS NOT NULL"),
            sqlite_where=text("leased_until IS NOT NULL"),
        ),
        Index(  # what a claim fills its requests with; most batches of a busy gateway are full
            "ix_poll_batches_thin",
            "gateway",
            "action",
            "next_poll_at",
            postgresql_where=text("leased_until IS NULL AND size < 90"),
            sqlite_where=text("leased_until IS NULL AND size < 90"),
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
        Index(
            "ix_suno_tasks_pending",
            "poll_batch_id",
            postgresql_where=text("poll_batch_id IS NOT NULL"),
            sqlite_where=text("poll_batch_id IS NOT NULL"),
        ),
        Index(
            "ix_suno_tasks_finished",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL"),
            sqlite_where=text("finished_at IS NOT NULL"),
        ),
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


class Origin(Base):
    """A scheme, host and port that receives webhooks, and when its deliveries are looked at next.

    Claims go by origins, not by deliveries: an origin that has nothing to send now, is at its limit or behind
    its breaker costs a claim nothing, however many deliveries wait for it. The row is also the lock under
    which workers count an origin's live leases before they claim more.
    """

    __tablename__ = "origins"
    __table_args__ = (
        Index(
            "ix_origins_due",
            "next_claim_at",
            postgresql_where=text("next_claim_at IS NOT NULL"),
            sqlite_where=text("next_claim_at IS NOT NULL"),
        ),
    )

    origin: Mapped[str] = mapped_column(OriginName, primary_key=True)
    concurrency: Mapped[int] = mapped_column(server_default=text("4"))  # adaptive limit over all workers
    failures: Mapped[int] = mapped_column(server_default=text("0"))  # of the host, in a row
    openings: Mapped[int] = mapped_column(server_default=text("0"))  # of its breaker, in a row
    open_until: Mapped[datetime | None]  # breaker: no claims before
    next_claim_at: Mapped[datetime | None]  # when a claim may find something; None: nothing is PENDING
    delivered_at: Mapped[datetime | None]  # last 2xx recorded
    last_used_at: Mapped[datetime]  # last delivery made or attempt recorded


class Delivery(Base):
    """One result owed to one endpoint: the outbox.

    PENDING until a 2xx makes it DELIVERED, or an outcome that cannot heal or the end of the schedule makes it
    DISCARDED. A resend makes it PENDING again under the same id, so receivers can tell it from a new result.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("suno_task_id", "event"),
        CheckConstraint("state IN ('PENDING', 'DELIVERED', 'DISCARDED')", name="state"),
        Index(
            "ix_deliveries_due",
            "origin",
            "next_attempt_at",
            postgresql_where=text("state = 'PENDING'"),
            sqlite_where=text("state = 'PENDING'"),
        ),
        Index(  # first attempts, of which each claim takes a share before any retry
            "ix_deliveries_first",
            "origin",
            "next_attempt_at",
            postgresql_where=text("state = 'PENDING' AND attempt_count = 0"),
            sqlite_where=text("state = 'PENDING' AND attempt_count = 0"),
        ),
        Index(
            "ix_deliveries_discarded",
            "discarded_at",
            postgresql_where=text("state = 'DISCARDED'"),
            sqlite_where=text("state = 'DISCARDED'"),
        ),
        Index(
            "ix_deliveries_leased",
            "origin",
            "leased_until",
            postgresql_where=text("leased_until IS NOT NULL"),
            sqlite_where=text("leased_until IS NOT NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)  # the `webhook-id` of every attempt
    suno_task_id: Mapped[int] = mapped_column(ForeignKey("suno_tasks.id"))
    event: Mapped[str] = mapped_column(String(32))
    notify_hook: Mapped[str] = mapped_column(String(2048))
    origin: Mapped[str] = mapped_column(OriginName)
    state: Mapped[str] = mapped_column(String(16))
    attempt_count: Mapped[int] = mapped_column(server_default=text("0"))  # recorded attempts; picks the wait
    next_attempt_at: Mapped[datetime]  # when it is due; during a lease, the lease's end
    leased_until: Mapped[datetime | None]  # set by a claim, cleared by its record
    claims: Mapped[int] = mapped_column(server_default=text("0"))  # fencing token, sent as `webhook-attempt`
    trigger: Mapped[str] = mapped_column(String(16), server_default=text("'schedule'"))  # of the next attempt
    discard_reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    discarded_at: Mapped[datetime | None]


class Attempt(Base):
    """One POST and what came of it. Never changed."""

    __tablename__ = "attempts"
    __table_args__ = (Index("ix_attempts_delivery_id", "delivery_id"),)

    id: Mapped[int] = mapped_column(RowId, primary_key=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id"))
    number: Mapped[int]  # the claim's number
    at: Mapped[datetime]  # when the POST began
    trigger: Mapped[str] = mapped_column(String(16))  # a word of deliveries.Trigger
    duration_ms: Mapped[int]
    dns_ms: Mapped[int | None]  # None: the connection was reused, or never asked for
    connect_ms: Mapped[int | None]  # TCP and TLS; None: reused, or not reached
    first_byte_ms: Mapped[int | None]  # from the connection to the answer's first byte; None: none came
    remote_address: Mapped[str | None] = mapped_column(Text)  # for the operator only
    request_bytes: Mapped[int]  # size of the body that was sent
    request_sha256: Mapped[str] = mapped_column(String(64))  # of that body, in hexadecimal
    status_code: Mapped[int | None]  # None: no status line came; then `error` says why
    error: Mapped[str | None] = mapped_column(String(32))  # a word of core.webhook.PostError
    detail: Mapped[str | None] = mapped_column(Text)  # start of the answer, or more about the error
    next_attempt_at: Mapped[datetime | None]  # when the next attempt was due after this one


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
