"""The tables of the model registry. What is written to them and when: `recommend/registry.py`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from moovitamix.warehouse.columns import OurMoment, metadata, pull

model_versions = Table(
    "model_versions",
    metadata,
    Column("version", BigInteger, Identity(always=True), primary_key=True),
    Column("status", Text, nullable=False),
    Column("provisional", Boolean, nullable=False, server_default=text("false")),
    Column("algorithm", Text, nullable=False, comment="What is served under it."),
    Column("as_of", Date, nullable=False, comment="The last day of its data."),
    pull("The newest pull in its data."),
    Column("matrix_fingerprint", Text, nullable=False),
    Column("parameters", JSONB, nullable=False),
    Column("metrics", JSONB, nullable=False, server_default=text("'{}'")),
    Column("judged_against", BigInteger, comment="The champion when it was evaluated."),
    Column("verdict", Text),
    Column("reason", Text),
    Column(
        "criteria",
        JSONB,
        nullable=False,
        server_default=text("'[]'"),
        comment="What the verdict rests on: name, value, bound, passed.",
    ),
    Column("artifact", Text, nullable=False, comment="Its folder in the lake."),
    Column("code_version", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("created_at", OurMoment, nullable=False, server_default=text("now()")),
    Column("promoted_at", OurMoment),
    Column("retired_at", OurMoment),
    Column("artifact_removed_at", OurMoment, comment="Removed by the retention rule since then."),
    CheckConstraint(
        "status IN ('candidate', 'champion', 'retired', 'rejected')", name="known_status"
    ),
    CheckConstraint("algorithm IN ('als', 'popularity')", name="known_algorithm"),
    comment="The model registry.",
)
Index(
    "uq_model_versions_one_champion",
    model_versions.c.status,
    unique=True,
    postgresql_where=text("status = 'champion'"),
)

model_decisions = Table(
    "model_decisions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("action", Text, nullable=False),
    Column(
        "version",
        ForeignKey("model_versions.version", ondelete="CASCADE"),
        nullable=False,
        comment="The champion after it; of an experiment, the challenger.",
    ),
    Column("predecessor", BigInteger, comment="The champion before it."),
    Column("decided_by", Text, comment="Who, by hand; null: the gate."),
    Column("reason", Text),
    Column("decided_at", OurMoment, nullable=False, server_default=text("now()")),
    CheckConstraint(
        "action IN ('promote', 'rollback', 'unpin', 'experiment')", name="known_action"
    ),
    comment="What made a version the champion, and what pins it.",
)
