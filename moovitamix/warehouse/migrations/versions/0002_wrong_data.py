"""Operations on wrong data: what an acceptance is for."""

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


def downgrade() -> None:
    op.drop_column("blocked_days", "content")
