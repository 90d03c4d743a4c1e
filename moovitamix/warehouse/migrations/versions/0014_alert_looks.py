"""When the sensor that tells alerts last looked around."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alert_looks",
        sa.Column("by", sa.Text(), nullable=False, comment="The sensor."),
        sa.Column("looked_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("by", name=op.f("pk_alert_looks")),
        comment="The last look around, whole: while it is young, Dagster's daemon is alive.",
    )


def downgrade() -> None:
    op.drop_table("alert_looks")
