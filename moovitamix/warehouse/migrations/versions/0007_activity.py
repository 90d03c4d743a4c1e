"""What the app tells at once: listens before a pull brings them, and a mark for what lists know."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "activity",
        sa.Column(
            "user_id",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="Who heard it.",
        ),
        sa.Column(
            "recorded_at",
            sa.DateTime(),
            nullable=False,
            comment="created_at of the listen record.",
        ),
        sa.Column(
            "track_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="What."
        ),
        sa.Column(
            "nth",
            sa.SmallInteger(),
            autoincrement=False,
            nullable=False,
            comment="Which of several plays in its record, from 1.",
        ),
        sa.Column("listened_at", sa.DateTime(), nullable=False, comment="When it was heard, UTC."),
        sa.Column(
            "taken_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("day", sa.Date(), nullable=False, comment="With which it is loaded: UTC, ours."),
        sa.PrimaryKeyConstraint(
            "user_id", "recorded_at", "track_id", "nth", name=op.f("pk_activity")
        ),
        comment="What POST /listens took in; loaded with its day into listen_history.",
    )
    op.create_index(op.f("ix_activity_day"), "activity", ["day"])
    op.execute(sa.schema.CreateSequence(sa.Sequence("activity_mark")))
    op.create_table(
        "activity_marks",
        sa.Column("user_id", sa.BigInteger(), autoincrement=False, nullable=False, comment="Who."),
        sa.Column(
            "mark",
            sa.BigInteger(),
            nullable=False,
            comment="Grows with all that is learnt of the user; lists tell which one they know.",
        ),
        sa.Column(
            "marked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_activity_marks")),
        comment="How much is known of a user beyond the loaded days: tells newer lists from older.",
    )
    op.create_index(op.f("ix_activity_marks_mark"), "activity_marks", ["mark"])


def downgrade() -> None:
    op.drop_table("activity_marks")
    op.execute(sa.schema.DropSequence(sa.Sequence("activity_mark")))
    op.drop_table("activity")
