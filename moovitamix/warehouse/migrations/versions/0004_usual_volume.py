"""How many listens a day had when it was published: what later days are compared with."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "published_days",
        sa.Column(
            "listens",
            sa.BigInteger(),
            nullable=True,
            comment="The most that were staged of it at a publication; null: not known.",
        ),
    )


def downgrade() -> None:
    op.drop_column("published_days", "listens")
