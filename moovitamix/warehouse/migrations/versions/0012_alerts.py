"""What people are told of, and what is still to be told to whom."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key", sa.Text(), nullable=False, comment="What is wrong: at most one is open."),
        sa.Column("kind", sa.Text(), nullable=False, comment="See `observe/conditions.py`."),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False, comment="In a few words."),
        sa.Column(
            "text",
            sa.Text(),
            nullable=False,
            comment="In a sentence or two; no personal value.",
        ),
        sa.Column("runbook", sa.Text(), nullable=False, comment="The entry of docs/runbook.md."),
        sa.Column(
            "link", sa.Text(), comment="Where more is to be seen; null: no UI is configured."
        ),
        sa.Column(
            "first_seen",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Of a run: when it failed.",
        ),
        sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "times",
            sa.Integer(),
            server_default=sa.text("1"),
            nullable=False,
            comment="At how many looks it was found.",
        ),
        sa.Column(
            "resolved_at",
            sa.DateTime(timezone=True),
            comment="Over since then; of an announcement, at once.",
        ),
        sa.CheckConstraint(
            "severity IN ('critical', 'warning', 'info')", name=op.f("ck_alerts_known_severity")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        comment="What people are told of, open and over.",
    )
    op.create_index(op.f("ix_alerts_key"), "alerts", ["key"])
    op.create_index(
        "uq_alerts_one_open",
        "alerts",
        ["key"],
        unique=True,
        postgresql_where=sa.text("resolved_at IS NULL"),
    )
    op.create_table(
        "alert_notices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("alert_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "channel",
            sa.Text(),
            nullable=False,
            comment="Scheme and hash of its URL, which may hold secrets.",
        ),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "next_try",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="Not before; grows with the attempts.",
        ),
        sa.Column(
            "sent_at",
            sa.DateTime(timezone=True),
            comment="The same for all that went in one message.",
        ),
        sa.CheckConstraint(
            "what IN ('new', 'reminder', 'over')", name=op.f("ck_alert_notices_known_what")
        ),
        sa.ForeignKeyConstraint(
            ["alert_id"],
            ["alerts.id"],
            name=op.f("fk_alert_notices_alert_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_notices")),
        comment="What is, or was, to be told of an alert to a channel.",
    )
    op.create_index(op.f("ix_alert_notices_alert_id"), "alert_notices", ["alert_id"])
    op.create_index(
        "uq_alert_notices_one_waiting",
        "alert_notices",
        ["alert_id", "channel", "what"],
        unique=True,
        postgresql_where=sa.text("sent_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_table("alert_notices")
    op.drop_table("alerts")
