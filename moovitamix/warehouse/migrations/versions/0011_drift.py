"""Readings of drift, a row for each day and feature."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift_readings",
        sa.Column("day", sa.Date(), nullable=False, comment="The last day of the window; UTC."),
        sa.Column("feature", sa.Text(), nullable=False),
        sa.Column(
            "model_version",
            sa.BigInteger(),
            comment="The champion whose data is the reference; null: there was none.",
        ),
        sa.Column("as_of", sa.Date(), comment="The last day of the champion's data."),
        sa.Column("pull", sa.Text(), comment="With which the day was published; null: it was not."),
        sa.Column("value", sa.Double(), comment="Null: cannot be told."),
        sa.Column("usual", sa.Double(), comment="Its mean while nothing happens."),
        sa.Column("warn", sa.Double(), comment="From here on it is a warning."),
        sa.Column("alarm", sa.Double(), comment="From here on it has drifted."),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column(
            "reason",
            sa.Text(),
            server_default=sa.text("''"),
            nullable=False,
            comment="Of 'cannot tell'.",
        ),
        sa.Column(
            "read_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "verdict IN ('steady', 'warning', 'drifted', 'cannot tell')",
            name=op.f("ck_drift_readings_known_verdict"),
        ),
        sa.ForeignKeyConstraint(
            ["model_version"],
            ["model_versions.version"],
            name=op.f("fk_drift_readings_model_version"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("day", "feature", name=op.f("pk_drift_readings")),
        comment="Whether the last days look like the champion's data, a row a feature.",
    )


def downgrade() -> None:
    op.drop_table("drift_readings")
