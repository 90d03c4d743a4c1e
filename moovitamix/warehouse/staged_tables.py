"""The staging area's tables: what a run has read, before it is believed, and the verdict on it.

They live in the schema of the namespace with `_staging` behind its name (see `migrate.py`).
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    Integer,
    SmallInteger,
    Table,
    Text,
    false,
    text,
)

from moovitamix.warehouse.columns import Moment, OurMoment, metadata, pull

STAGING = "staging"


def _staged(name: str, *columns: Column[object]) -> Table:
    """A staging table: transient, hence unlogged, and without keys, for it holds doubtful rows."""
    return Table(
        name,
        metadata,
        Column("run_id", Text, nullable=False, index=True),
        Column("staged_at", OurMoment, nullable=False, server_default=text("now()")),
        Column("day", Date, comment="Null: brought along because a listen of the run names it."),
        pull(),
        *columns,
        schema=STAGING,
        prefixes=["UNLOGGED"],
    )


staged_tracks = _staged(
    "staged_tracks",
    Column("id", BigInteger),
    Column("name", Text),
    Column("artist", Text),
    Column("songwriters", Text),
    Column("duration_seconds", Integer),
    Column("genres", Text, comment="Folded names, joined by commas."),
    Column("album", Text),
    Column("created_at", Moment),
    Column("updated_at", Moment),
)

staged_users = _staged(
    "staged_users",
    Column("id", BigInteger),
    Column("first_name", Text),
    Column("last_name", Text),
    Column("email", Text),
    Column("gender", Text),
    Column("favorite_genres", Text, comment="Folded names, joined by commas."),
    Column("created_at", Moment),
    Column("updated_at", Moment),
)

staged_listens = _staged(
    "staged_listens",
    Column("user_id", BigInteger),
    Column("track_id", BigInteger),
    Column("listened_at", Moment),
    Column("recorded_at", Moment),
    Column("nth", SmallInteger),
    Column(
        "told",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="Whether it is what POST /listens took in, not what a pull brought.",
    ),
)

verdicts = Table(
    "verdicts",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("day", Date, primary_key=True),
    Column("judged_at", OurMoment, nullable=False, server_default=text("now()")),
    Column("failed", ARRAY(Text), nullable=False, comment="Blocking checks that failed."),
    schema=STAGING,
    prefixes=["UNLOGGED"],
)
