"""What people do with what was recommended: events, hides, and the figures made of them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def _id(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False, comment=comment)


def _count(name: str, comment: str | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, comment=comment)


def _moment(name: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
    )


def upgrade() -> None:
    op.create_table(
        "feedback",
        _id("user_id", "Who."),
        _id("track_id", "Of what."),
        sa.Column(
            "kind", sa.Text(), nullable=False, comment="impression, click, skip, hide, unhide"
        ),
        sa.Column(
            "at", sa.DateTime(), nullable=False, comment="When it happened, by the app, UTC."
        ),
        sa.Column(
            "model_version",
            sa.BigInteger(),
            comment="Of the answer it is about, as the app was told.",
        ),
        sa.Column("generation", sa.Text(), comment="As above."),
        sa.Column("tier", sa.Text(), comment="As above."),
        sa.Column("arm", sa.Text(), comment="Of an experiment, as above."),
        _moment("taken_at"),
        sa.Column("day", sa.Date(), nullable=False, comment="Of `at`: UTC, ours."),
        sa.CheckConstraint(
            "kind IN ('impression', 'click', 'skip', 'hide', 'unhide')",
            name=op.f("ck_feedback_kind"),
        ),
        sa.PrimaryKeyConstraint("user_id", "track_id", "kind", "at", name=op.f("pk_feedback")),
        comment="What POST /feedback took in; a repeat counts once.",
    )
    op.create_index(op.f("ix_feedback_day"), "feedback", ["day"])
    op.create_index(
        "ix_feedback_taken_at",
        "feedback",
        ["taken_at"],
        postgresql_where=sa.text("kind IN ('hide', 'unhide')"),
    )
    op.create_table(
        "hides",
        _id("user_id", "Whose."),
        _id("track_id", "What."),
        sa.Column(
            "hidden_at", sa.DateTime(), nullable=False, comment="`at` of the newest hide, UTC."
        ),
        sa.PrimaryKeyConstraint("user_id", "track_id", name=op.f("pk_hides")),
        comment="Tracks that a user does not want to be recommended, until they take it back.",
    )
    op.create_table(
        "online_figures",
        sa.Column("day", sa.Date(), nullable=False, comment="Of the impressions, UTC."),
        _id("model_version", "That was shown; 0: not told."),
        sa.Column("tier", sa.Text(), nullable=False, comment="That answered; empty: not told."),
        sa.Column("arm", sa.Text(), nullable=False, comment="Of an experiment; empty: of none."),
        _count("impressions"),
        _count("clicks", "Impressions that were clicked."),
        _count("skips", "Impressions that were skipped."),
        _count("hides", "Impressions that were hidden."),
        _count("listens", "Impressions that were listened to."),
        _count("users", "Who were shown something."),
        _moment("counted_at"),
        sa.PrimaryKeyConstraint(
            "day", "model_version", "tier", "arm", name=op.f("pk_online_figures")
        ),
        comment="What became of what was shown, within 24 hours, by model version, tier and day.",
    )


def downgrade() -> None:
    op.drop_table("online_figures")
    op.drop_table("hides")
    op.drop_table("feedback")
