"""The register of exports."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "exports",
        sa.Column(
            "folder", sa.Text(), nullable=False, comment="Absolute, on the machine that made it."
        ),
        sa.Column("format", sa.Text(), nullable=False, comment="csv, parquet or csv+parquet."),
        sa.Column(
            "made_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="The moment that its files show; until they are there, when it was begun.",
        ),
        sa.PrimaryKeyConstraint("folder", name=op.f("pk_exports")),
        comment="Where the tables were exported to: to forget people there, and to remove it in "
        "time.",
    )


def downgrade() -> None:
    op.drop_table("exports")
