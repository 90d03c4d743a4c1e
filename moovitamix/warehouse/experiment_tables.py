"""The table of A/B experiments. What is written to it and when: `recommend/experiments.py`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from moovitamix.warehouse.columns import OurMoment, metadata

experiments = Table(
    "experiments",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column(
        "champion",
        ForeignKey("model_versions.version", ondelete="CASCADE"),
        nullable=False,
        comment="The version that answers whoever is not in the challenger's arm.",
    ),
    Column(
        "challenger",
        ForeignKey("model_versions.version", ondelete="CASCADE"),
        nullable=False,
        comment="The version that is tried.",
    ),
    Column("share", Double, nullable=False, comment="Of users in the challenger's arm."),
    Column("salt", Text, nullable=False, comment="What users are divided by."),
    Column("started_at", OurMoment, nullable=False, server_default=text("now()")),
    Column("started_by", Text, nullable=False),
    Column("start_reason", Text, comment="In their words."),
    Column("ends_at", OurMoment, comment="When it is to be judged; null: not said."),
    Column("stopped_at", OurMoment),
    Column("stopped_by", Text, comment="Who; null: a promotion or rollback broke it off."),
    Column("verdict", Text),
    Column("reason", Text, comment="What the verdict rests on, or what broke it off."),
    Column("figures", JSONB, nullable=False, server_default=text("'{}'")),
    CheckConstraint("share > 0 AND share < 1", name="share_of_users"),
    CheckConstraint("champion <> challenger", name="two_versions"),
    CheckConstraint(
        "verdict IN ('challenger better', 'champion better', 'cannot tell', 'broken off')",
        name="known_verdict",
    ),
    CheckConstraint("(stopped_at IS NULL) = (verdict IS NULL)", name="verdict_at_the_end"),
    comment="A/B experiments between the champion and a challenger.",
)
Index(
    "uq_experiments_one_running",
    text("(stopped_at IS NULL)"),
    unique=True,
    postgresql_where=text("stopped_at IS NULL"),
    _table=experiments,
)
