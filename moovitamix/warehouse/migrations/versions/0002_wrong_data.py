"""Operations on wrong data: what an acceptance is for, withdrawn users, blocked tracks."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "blocked_days",
        sa.Column(
            "content",
            sa.Text(),
            nullable=True,
            comment="Tells the judged rows from others: what was accepted.",
        ),
    )
    op.add_column(
        "users",
        sa.Column(
            "withdrawn_at",
            sa.DateTime(),
            nullable=True,
            comment="Gone from a complete pull since then, UTC.",
        ),
    )
    op.create_table(
        "blocklist",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "track_id",
            sa.BigInteger(),
            nullable=True,
            comment="The track, or null when an artist is blocked.",
        ),
        sa.Column(
            "artist",
            sa.Text(),
            nullable=True,
            comment="Lower case, white space folded to one; or null.",
        ),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "until",
            sa.Date(),
            nullable=True,
            comment="The last day on which it counts; null: until it is removed.",
        ),
        sa.Column(
            "blocked_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(track_id IS NULL) <> (artist IS NULL)", name=op.f("ck_blocklist_track_or_artist")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_blocklist")),
        comment="Tracks and artists that no list may hold, for as long as their entry counts.",
    )
    for column in ("track_id", "artist"):
        op.create_index(
            f"uq_blocklist_{column}",
            "blocklist",
            [column],
            unique=True,
            postgresql_where=sa.text("removed_at IS NULL"),
        )


def downgrade() -> None:
    op.drop_table("blocklist")
    op.drop_column("users", "withdrawn_at")
    op.drop_column("blocked_days", "content")
