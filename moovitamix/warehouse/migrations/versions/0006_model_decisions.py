"""Who became champion, when, by whom and why; what a verdict rests on; artifacts that are gone."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Champions from before: each followed the one that was promoted before it, by the gate.
_DECISIONS_SO_FAR = """
INSERT INTO model_decisions (action, version, predecessor, reason, decided_at)
SELECT 'promote', version, lag(version) OVER (ORDER BY promoted_at, version), verdict, promoted_at
FROM model_versions WHERE promoted_at IS NOT NULL ORDER BY promoted_at, version
"""


def upgrade() -> None:
    op.add_column(
        "model_versions",
        sa.Column(
            "judged_against",
            sa.BigInteger(),
            nullable=True,
            comment="The champion when it was evaluated.",
        ),
    )
    op.add_column(
        "model_versions",
        sa.Column(
            "criteria",
            postgresql.JSONB(),
            server_default=sa.text("'[]'"),
            nullable=False,
            comment="What the verdict rests on: name, value, bound, passed.",
        ),
    )
    op.add_column(
        "model_versions",
        sa.Column(
            "artifact_removed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="Removed by the retention rule since then.",
        ),
    )
    op.create_table(
        "model_decisions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="The champion after it."),
        sa.Column("predecessor", sa.BigInteger(), nullable=True, comment="The champion before it."),
        sa.Column("decided_by", sa.Text(), nullable=True, comment="Who, by hand; null: the gate."),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "decided_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "action IN ('promote', 'rollback', 'unpin')",
            name=op.f("ck_model_decisions_known_action"),
        ),
        sa.ForeignKeyConstraint(
            ["version"],
            ["model_versions.version"],
            name=op.f("fk_model_decisions_version"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_decisions")),
        comment="What made a version the champion, and what pins it.",
    )
    op.execute(_DECISIONS_SO_FAR)


def downgrade() -> None:
    op.drop_table("model_decisions")
    for column in ("artifact_removed_at", "criteria", "judged_against"):
        op.drop_column("model_versions", column)
