"""The tables of what the app tells at once: what was heard, before a pull brings it.

Written by the API (`serve/http/taking.py`), loaded with their day by `stage.py`.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Date, Sequence, SmallInteger, Table, text

from moovitamix.warehouse.columns import Moment, OurMoment, metadata

# Without foreign keys: who has just signed up is not known to the warehouse yet.
activity = Table(
    "activity",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False, comment="Who heard it."),
    Column("recorded_at", Moment, primary_key=True, comment="created_at of the listen record."),
    Column("track_id", BigInteger, primary_key=True, autoincrement=False, comment="What."),
    Column(
        "nth",
        SmallInteger,
        primary_key=True,
        autoincrement=False,
        comment="Which of several plays in its record, from 1.",
    ),
    Column("listened_at", Moment, nullable=False, comment="When it was heard, UTC."),
    Column("taken_at", OurMoment, nullable=False, server_default=text("now()")),
    Column("day", Date, nullable=False, index=True, comment="With which it is loaded: UTC, ours."),
    comment="What POST /listens took in; loaded with its day into listen_history.",
)

activity_mark = Sequence("activity_mark", metadata=metadata)

activity_marks = Table(
    "activity_marks",
    metadata,
    Column("user_id", BigInteger, primary_key=True, autoincrement=False, comment="Who."),
    Column(
        "mark",
        BigInteger,
        nullable=False,
        index=True,
        comment="Grows with all that is learnt of the user; lists tell which one they know.",
    ),
    Column("marked_at", OurMoment, nullable=False, server_default=text("now()")),
    comment="How much is known of a user beyond the loaded days: tells newer lists from older.",
)
