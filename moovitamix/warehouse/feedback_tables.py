"""The tables of what people do with what was recommended to them, and of the figures made of it.

Written by the API (`serve/http/feedback.py`); the figures by `observe/online.py`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, Date, Index, Integer, Table, Text, text

from moovitamix.warehouse.columns import Moment, OurMoment, metadata

KINDS = ("impression", "click", "skip", "hide", "unhide")

# Without foreign keys: who has just signed up is not known to the warehouse yet.
feedback = Table(
    "feedback",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False, comment="Who."),
    Column("track_id", BigInteger, primary_key=True, autoincrement=False, comment="Of what."),
    Column("kind", Text, primary_key=True, comment=", ".join(KINDS)),
    Column("at", Moment, primary_key=True, comment="When it happened, by the app, UTC."),
    Column("model_version", BigInteger, comment="Of the answer it is about, as the app was told."),
    Column("generation", Text, comment="As above."),
    Column("tier", Text, comment="As above."),
    Column("arm", Text, comment="Of an experiment, as above."),
    Column("taken_at", OurMoment, nullable=False, server_default=text("now()")),
    Column("day", Date, nullable=False, index=True, comment="Of `at`: UTC, ours."),
    CheckConstraint(f"kind IN ({', '.join(map(repr, KINDS))})", name="kind"),
    comment="What POST /feedback took in; a repeat counts once.",
)
# By which a process learns of the hides that others took in.
Index(
    "ix_feedback_taken_at",
    feedback.c.taken_at,
    postgresql_where=text("kind IN ('hide', 'unhide')"),
)

hides = Table(
    "hides",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False, comment="Whose."),
    Column("track_id", BigInteger, primary_key=True, autoincrement=False, comment="What."),
    Column("hidden_at", Moment, nullable=False, comment="`at` of the newest hide, UTC."),
    comment="Tracks that a user does not want to be recommended, until they take it back.",
)

online_figures = Table(
    "online_figures",
    metadata,
    Column("day", Date, primary_key=True, comment="Of the impressions, UTC."),
    Column(
        "model_version",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="That was shown; 0: not told.",
    ),
    Column("tier", Text, primary_key=True, comment="That answered; empty: not told."),
    Column("arm", Text, primary_key=True, comment="Of an experiment; empty: of none."),
    Column("impressions", Integer, nullable=False),
    Column("clicks", Integer, nullable=False, comment="Impressions that were clicked."),
    Column("skips", Integer, nullable=False, comment="Impressions that were skipped."),
    Column("hides", Integer, nullable=False, comment="Impressions that were hidden."),
    Column("listens", Integer, nullable=False, comment="Impressions that were listened to."),
    Column("users", Integer, nullable=False, comment="Who were shown something."),
    Column("counted_at", OurMoment, nullable=False, server_default=text("now()")),
    comment="What became of what was shown, within 24 hours, by model version, tier and day.",
)
