"""The table of drift readings. What is written to it and when: `observe/drift_store.py`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    Double,
    ForeignKey,
    Table,
    Text,
    text,
)

from moovitamix.warehouse.columns import OurMoment, metadata

drift_readings = Table(
    "drift_readings",
    metadata,
    Column("day", Date, primary_key=True, comment="The last day of the window; UTC."),
    Column("feature", Text, primary_key=True),
    Column(
        "model_version",
        ForeignKey("model_versions.version", ondelete="CASCADE"),
        type_=BigInteger,
        comment="The champion whose data is the reference; null: there was none.",
    ),
    Column("as_of", Date, comment="The last day of the champion's data."),
    Column("pull", Text, comment="With which the day was published; null: it was not."),
    Column("value", Double, comment="Null: cannot be told."),
    Column("usual", Double, comment="Its mean while nothing happens."),
    Column("warn", Double, comment="From here on it is a warning."),
    Column("alarm", Double, comment="From here on it has drifted."),
    Column("verdict", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''"), comment="Of 'cannot tell'."),
    Column("read_at", OurMoment, nullable=False, server_default=text("now()")),
    CheckConstraint(
        "verdict IN ('steady', 'warning', 'drifted', 'cannot tell')", name="known_verdict"
    ),
    comment="Whether the last days look like the champion's data, a row a feature.",
)
