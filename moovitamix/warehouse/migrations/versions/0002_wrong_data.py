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


def downgrade() -> None:
    op.drop_column("users", "withdrawn_at")
    op.drop_column("blocked_days", "content")
