"""Figures of runs, loads, checks, of the source and of sizes."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "step_figures",
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster's."),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False, comment="upkeep: of no stage."),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column(
            "cpu_seconds", sa.Double(), nullable=False, comment="Of all threads and children."
        ),
        sa.Column(
            "peak_bytes", sa.BigInteger(), nullable=False, comment="Of the process, meanwhile."
        ),
        sa.Column("rows", sa.BigInteger(), comment="That it made; null: it makes none."),
        sa.PrimaryKeyConstraint("run_id", "step", name=op.f("pk_step_figures")),
        comment="What each step of a run took.",
    )
    op.create_index(op.f("ix_step_figures_ended_at"), "step_figures", ["ended_at"])
    op.create_table(
        "load_figures",
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster's."),
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "first_day", sa.Date(), nullable=False, comment="Of the days that were published."
        ),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="In the table afterwards."),
        sa.Column("new", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("withdrawn", sa.BigInteger(), nullable=False, comment="Or back again."),
        sa.PrimaryKeyConstraint("run_id", "table_name", name=op.f("pk_load_figures")),
        comment="What each publication did to each table.",
    )
    op.create_index(op.f("ix_load_figures_loaded_at"), "load_figures", ["loaded_at"])
    op.create_table(
        "check_figures",
        sa.Column("run_id", sa.Text(), nullable=False, comment="Dagster's."),
        sa.Column("asset", sa.Text(), nullable=False),
        sa.Column("check_name", sa.Text(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("result", sa.Text(), nullable=False, comment="passed, warned or failed."),
        sa.Column("rows", sa.BigInteger(), comment="Looked at; null: it is not about rows."),
        sa.Column("unexpected", sa.BigInteger(), comment="Of them, those that break it."),
        sa.PrimaryKeyConstraint("run_id", "asset", "check_name", name=op.f("pk_check_figures")),
        comment="The result of each check of a run.",
    )
    op.create_index(op.f("ix_check_figures_checked_at"), "check_figures", ["checked_at"])
    op.create_table(
        "source_figures",
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column(
            "seconds", sa.Double(), nullable=False, comment="Of all that were answered, together."
        ),
        sa.Column(
            "buckets",
            sa.ARRAY(sa.BigInteger()),
            nullable=False,
            comment="How many took so long: see `ingest/request_times.py`.",
        ),
        sa.Column("failures", sa.BigInteger(), nullable=False, comment="Not answered with a page."),
        sa.PrimaryKeyConstraint("asked_at", "endpoint", name=op.f("pk_source_figures")),
        comment="Requests to the source, a row for each pull; the oldest holds all that were "
        "before.",
    )
    op.create_table(
        "size_figures",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("store", sa.Text(), nullable=False, comment="postgres or lake."),
        sa.Column("part", sa.Text(), nullable=False, comment="A table, or a folder of the lake."),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "store", "part", name=op.f("pk_size_figures")),
        comment="How large tables and files are, a day: the last measurement of it.",
    )


def downgrade() -> None:
    for table in (
        "size_figures",
        "source_figures",
        "check_figures",
        "load_figures",
        "step_figures",
    ):
        op.drop_table(table)
