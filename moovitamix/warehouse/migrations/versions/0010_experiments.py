"""A/B experiments, and their verdicts among the decisions about models."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "experiments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "champion",
            sa.BigInteger(),
            nullable=False,
            comment="The version that answers whoever is not in the challenger's arm.",
        ),
        sa.Column(
            "challenger", sa.BigInteger(), nullable=False, comment="The version that is tried."
        ),
        sa.Column(
            "share", sa.Double(), nullable=False, comment="Of users in the challenger's arm."
        ),
        sa.Column("salt", sa.Text(), nullable=False, comment="What users are divided by."),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("start_reason", sa.Text(), comment="In their words."),
        sa.Column(
            "ends_at",
            sa.DateTime(timezone=True),
            comment="When it is to be judged; null: not said.",
        ),
        sa.Column("stopped_at", sa.DateTime(timezone=True)),
        sa.Column(
            "stopped_by", sa.Text(), comment="Who; null: a promotion or rollback broke it off."
        ),
        sa.Column("verdict", sa.Text()),
        sa.Column("reason", sa.Text(), comment="What the verdict rests on, or what broke it off."),
        sa.Column(
            "figures",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "(stopped_at IS NULL) = (verdict IS NULL)",
            name=op.f("ck_experiments_verdict_at_the_end"),
        ),
        sa.CheckConstraint("champion <> challenger", name=op.f("ck_experiments_two_versions")),
        sa.CheckConstraint("share > 0 AND share < 1", name=op.f("ck_experiments_share_of_users")),
        sa.CheckConstraint(
            "verdict IN ('challenger better', 'champion better', 'cannot tell', 'broken off')",
            name=op.f("ck_experiments_known_verdict"),
        ),
        sa.ForeignKeyConstraint(
            ["challenger"],
            ["model_versions.version"],
            name=op.f("fk_experiments_challenger_model_versions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["champion"],
            ["model_versions.version"],
            name=op.f("fk_experiments_champion_model_versions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiments")),
        comment="A/B experiments between the champion and a challenger.",
    )
    op.create_index(
        "uq_experiments_one_running",
        "experiments",
        [sa.text("(stopped_at IS NULL)")],
        unique=True,
        postgresql_where=sa.text("stopped_at IS NULL"),
    )
    _allow("'promote', 'rollback', 'unpin', 'experiment'")
    _say_of_version("The champion after it; of an experiment, the challenger.")


def downgrade() -> None:
    op.execute("DELETE FROM model_decisions WHERE action = 'experiment'")
    _allow("'promote', 'rollback', 'unpin'")
    _say_of_version("The champion after it.")
    op.drop_table("experiments")


def _allow(actions: str) -> None:
    name = op.f("ck_model_decisions_known_action")
    op.drop_constraint(name, "model_decisions", type_="check")
    op.create_check_constraint(name, "model_decisions", f"action IN ({actions})")


def _say_of_version(comment: str) -> None:
    op.alter_column("model_decisions", "version", comment=comment, existing_type=sa.BigInteger())
