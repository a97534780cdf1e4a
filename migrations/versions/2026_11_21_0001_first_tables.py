"""The first tables.

Why: everything that has to survive a crash is a row: watched tasks, the poll batches that schedule them, the
outbox of deliveries and its attempts. `worker.db.models` explains each table.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ORIGIN = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)
ROW_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

TABLES = (
    "attempts",
    "transitions",
    "deliveries",
    "suno_tasks",
    "poll_batches",
    "rejections",
    "origins",
    "gateways",
)


def where(condition: str) -> dict[str, Any]:
    """Return the options of an index over the rows of `condition` only, for both databases."""
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


def upgrade() -> None:
    """Make the tables, those that others refer to first."""
    _create_gateways()
    _create_origins()
    _create_rejections()
    _create_poll_batches()
    _create_suno_tasks()
    _create_deliveries()
    _create_transitions()
    _create_attempts()


def downgrade() -> None:
    """Drop the tables and all that was watched."""
    for table in TABLES:
        op.drop_table(table)


def _create_gateways() -> None:
    op.create_table(
        "gateways",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("batch_size", sa.Integer(), server_default=sa.text("100"), nullable=False),
        sa.Column("configured_at", MOMENT, nullable=True),
        sa.Column("cooling_until", MOMENT, nullable=True),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("trouble", sa.String(length=16), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("last_error_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_gateways")),
    )


def _create_origins() -> None:
    op.create_table(
        "origins",
        sa.Column("origin", ORIGIN, nullable=False),
        sa.Column("concurrency", sa.Integer(), server_default=sa.text("4"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("openings", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("open_until", MOMENT, nullable=True),
        sa.Column("next_claim_at", MOMENT, nullable=True),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.Column("last_used_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("origin", name=op.f("pk_origins")),
    )
    op.create_index("ix_origins_due", "origins", ["next_claim_at"], **where("next_claim_at IS NOT NULL"))


def _create_rejections() -> None:
    op.create_table(
        "rejections",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejections")),
    )
    op.create_index("ix_rejections_at", "rejections", ["at"])


def _create_poll_batches() -> None:
    op.create_table(
        "poll_batches",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("size", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_poll_at", MOMENT, nullable=False),
        sa.Column("leased_until", MOMENT, nullable=True),
        sa.Column("claims", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("youngest_at", MOMENT, nullable=False),
        sa.Column("last_polled_at", MOMENT, nullable=True),
        sa.Column("alone", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.CheckConstraint("size >= 0", name=op.f("ck_poll_batches_size")),
        sa.ForeignKeyConstraint(
            ["gateway"], ["gateways.name"], name=op.f("fk_poll_batches_gateway_gateways")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_poll_batches")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_poll_batches_due", "poll_batches", ["gateway", "next_poll_at"])
    op.create_index(
        "ix_poll_batches_leased",
        "poll_batches",
        ["gateway", "leased_until"],
        **where("leased_until IS NOT NULL"),
    )
    op.create_index(
        "ix_poll_batches_thin",
        "poll_batches",
        ["gateway", "action", "next_poll_at"],
        **where("leased_until IS NULL AND size < 90"),
    )


def _create_suno_tasks() -> None:
    op.create_table(
        "suno_tasks",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("gateway", sa.String(length=64), nullable=False),
        sa.Column("task_id", sa.String(length=191), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("notify_hook", sa.String(length=2048), nullable=True),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("upstream_status", sa.String(length=64), nullable=True),
        sa.Column("progress", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("fail_reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("absences", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("stuck_since_at", MOMENT, nullable=True),
        sa.Column("upstream_submitted_at", MOMENT, nullable=True),
        sa.Column("upstream_started_at", MOMENT, nullable=True),
        sa.Column("upstream_finished_at", MOMENT, nullable=True),
        sa.Column("data", sa.Text(), nullable=True),
        sa.Column("enqueued_at", MOMENT, nullable=False),
        sa.Column("finished_at", MOMENT, nullable=True),
        sa.Column("last_polled_at", MOMENT, nullable=True),
        sa.Column("poll_batch_id", ROW_ID, nullable=True),
        sa.CheckConstraint(
            "(finished_at IS NOT NULL) = (status IN ('SUCCESS', 'FAILURE'))",
            name=op.f("ck_suno_tasks_finished"),
        ),
        sa.CheckConstraint(
            "(poll_batch_id IS NULL) = (status IN ('SUCCESS', 'FAILURE'))",
            name=op.f("ck_suno_tasks_pending_in_batch"),
        ),
        sa.CheckConstraint("action IN ('MUSIC', 'LYRICS')", name=op.f("ck_suno_tasks_action")),
        sa.CheckConstraint(
            "status IN ('SUBMITTED', 'IN_PROGRESS', 'SUCCESS', 'FAILURE')", name=op.f("ck_suno_tasks_status")
        ),
        sa.ForeignKeyConstraint(["gateway"], ["gateways.name"], name=op.f("fk_suno_tasks_gateway_gateways")),
        sa.ForeignKeyConstraint(
            ["poll_batch_id"], ["poll_batches.id"], name=op.f("fk_suno_tasks_poll_batch_id_poll_batches")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suno_tasks")),
        sa.UniqueConstraint("gateway", "task_id", name=op.f("uq_suno_tasks_gateway_task_id")),
    )
    op.create_index(
        "ix_suno_tasks_finished", "suno_tasks", ["finished_at"], **where("finished_at IS NOT NULL")
    )
    op.create_index(
        "ix_suno_tasks_pending", "suno_tasks", ["poll_batch_id"], **where("poll_batch_id IS NOT NULL")
    )
    op.create_index("ix_suno_tasks_task_id", "suno_tasks", ["task_id"])


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("suno_task_id", ROW_ID, nullable=False),
        sa.Column("event", sa.String(length=32), nullable=False),
        sa.Column("notify_hook", sa.String(length=2048), nullable=False),
        sa.Column("origin", ORIGIN, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_attempt_at", MOMENT, nullable=False),
        sa.Column("leased_until", MOMENT, nullable=True),
        sa.Column("claims", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("trigger", sa.String(length=16), server_default=sa.text("'schedule'"), nullable=False),
        sa.Column("discard_reason", sa.Text(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("delivered_at", MOMENT, nullable=True),
        sa.Column("discarded_at", MOMENT, nullable=True),
        sa.CheckConstraint(
            "state IN ('PENDING', 'DELIVERED', 'DISCARDED')", name=op.f("ck_deliveries_state")
        ),
        sa.ForeignKeyConstraint(
            ["suno_task_id"], ["suno_tasks.id"], name=op.f("fk_deliveries_suno_task_id_suno_tasks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("suno_task_id", "event", name=op.f("uq_deliveries_suno_task_id_event")),
    )
    op.create_index(
        "ix_deliveries_due", "deliveries", ["origin", "next_attempt_at"], **where("state = 'PENDING'")
    )
    op.create_index(
        "ix_deliveries_first",
        "deliveries",
        ["origin", "next_attempt_at"],
        **where("state = 'PENDING' AND attempt_count = 0"),
    )
    op.create_index("ix_deliveries_discarded", "deliveries", ["discarded_at"], **where("state = 'DISCARDED'"))
    op.create_index(
        "ix_deliveries_leased", "deliveries", ["origin", "leased_until"], **where("leased_until IS NOT NULL")
    )


def _create_transitions() -> None:
    op.create_table(
        "transitions",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("suno_task_id", ROW_ID, nullable=False),
        sa.Column("from_status", sa.String(length=16), nullable=True),
        sa.Column("to_status", sa.String(length=16), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["suno_task_id"], ["suno_tasks.id"], name=op.f("fk_transitions_suno_task_id_suno_tasks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_transitions")),
    )
    op.create_index("ix_transitions_suno_task_id", "transitions", ["suno_task_id"])


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", ROW_ID, nullable=False),
        sa.Column("delivery_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("trigger", sa.String(length=16), nullable=False),
        sa.Column("duration_ms", sa.Integer(), nullable=False),
        sa.Column("dns_ms", sa.Integer(), nullable=True),
        sa.Column("connect_ms", sa.Integer(), nullable=True),
        sa.Column("first_byte_ms", sa.Integer(), nullable=True),
        sa.Column("remote_address", sa.Text(), nullable=True),
        sa.Column("request_bytes", sa.Integer(), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(length=32), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("next_attempt_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_attempts_delivery_id_deliveries")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
    )
    op.create_index("ix_attempts_delivery_id", "attempts", ["delivery_id"])
