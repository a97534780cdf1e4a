"""What is owed: receivers, the results that go to them, and every attempt."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from worker.db.models.base import Base, partial_index
from worker.db.types import OriginName, RowId


class Origin(Base):
    """A scheme, host and port that receives webhooks, and when its deliveries are looked at next.

    Claims go by origins, not by deliveries: an origin that has nothing to send now, is at its limit or behind
    its breaker costs a claim nothing, however many deliveries wait for it. The row is also the lock under
    which workers count an origin's live leases before they claim more.
    """

    __tablename__ = "origins"
    __table_args__ = (partial_index("ix_origins_due", "next_claim_at", where="next_claim_at IS NOT NULL"),)

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
        partial_index("ix_deliveries_due", "origin", "next_attempt_at", where="state = 'PENDING'"),
        partial_index(  # first attempts, of which each claim takes a share before any retry
            "ix_deliveries_first",
            "origin",
            "next_attempt_at",
            where="state = 'PENDING' AND attempt_count = 0",
        ),
        partial_index("ix_deliveries_discarded", "discarded_at", where="state = 'DISCARDED'"),
        partial_index("ix_deliveries_leased", "origin", "leased_until", where="leased_until IS NOT NULL"),
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
    error: Mapped[str | None] = mapped_column(String(32))  # a word of core.verdicts.PostError
    detail: Mapped[str | None] = mapped_column(Text)  # start of the answer, or more about the error
    next_attempt_at: Mapped[datetime | None]  # when the next attempt was due after this one
