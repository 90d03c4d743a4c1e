"""The tables of alerts, and of what is still to be told to whom.

What is written to them and when: `observe/ledger.py` and `observe/outbox.py`. They hold no personal
value, and no address of a channel: that may hold secrets.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from moovitamix.warehouse.columns import OurMoment, metadata

alerts = Table(
    "alerts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("key", Text, nullable=False, index=True, comment="What is wrong: at most one is open."),
    Column("kind", Text, nullable=False, comment="See `observe/conditions.py`."),
    Column("severity", Text, nullable=False),
    Column("title", Text, nullable=False, comment="In a few words."),
    Column("text", Text, nullable=False, comment="In a sentence or two; no personal value."),
    Column("runbook", Text, nullable=False, comment="The entry of docs/runbook.md."),
    Column("link", Text, comment="Where more is to be seen; null: no UI is configured."),
    Column("first_seen", OurMoment, nullable=False, comment="Of a run: when it failed."),
    Column("last_seen", OurMoment, nullable=False),
    Column(
        "times",
        Integer,
        nullable=False,
        server_default=text("1"),
        comment="At how many looks it was found.",
    ),
    Column("resolved_at", OurMoment, comment="Over since then; of an announcement, at once."),
    CheckConstraint("severity IN ('critical', 'warning', 'info')", name="known_severity"),
    comment="What people are told of, open and over.",
)
Index(
    "uq_alerts_one_open",
    alerts.c.key,
    unique=True,
    postgresql_where=text("resolved_at IS NULL"),
)

alert_notices = Table(
    "alert_notices",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("alert_id", ForeignKey("alerts.id", ondelete="CASCADE"), nullable=False, index=True),
    Column(
        "channel",
        Text,
        nullable=False,
        comment="Scheme and hash of its URL, which may hold secrets.",
    ),
    Column("what", Text, nullable=False),
    Column("created_at", OurMoment, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("next_try", OurMoment, nullable=False, comment="Not before; grows with the attempts."),
    Column("sent_at", OurMoment, comment="The same for all that went in one message."),
    CheckConstraint("what IN ('new', 'reminder', 'over')", name="known_what"),
    comment="What is, or was, to be told of an alert to a channel.",
)
Index(
    "uq_alert_notices_one_waiting",
    alert_notices.c.alert_id,
    alert_notices.c.channel,
    alert_notices.c.what,
    unique=True,
    postgresql_where=text("sent_at IS NULL"),
)

alert_looks = Table(
    "alert_looks",
    metadata,
    Column("by", Text, primary_key=True, comment="The sensor."),
    Column("looked_at", OurMoment, nullable=False),
    comment="The last look around, whole: while it is young, Dagster's daemon is alive.",
)
