"""The warehouse's tables, declared once: names, types, keys, and what each column means.

Here are the six published ones, and those that keep the books of loading them. The model registry
is in `registry_tables.py`, experiments in `experiment_tables.py`, the staging area in
`staged_tables.py`, what the app tells at once in `activity_tables.py`, what people do with
recommendations in `feedback_tables.py`, readings of drift in `drift_tables.py`, what people are
told in `alert_tables.py`, figures of runs in `figure_tables.py`; whoever imports `metadata` from
here has them all. Alembic's migrations build them, Dagster shows them as column schemas, the export
reads their order. Tables without a schema live in the namespace's schema.
"""

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
    Interval,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from moovitamix.warehouse import (
    activity_tables,
    alert_tables,
    drift_tables,
    experiment_tables,
    feedback_tables,
    figure_tables,
    registry_tables,
    staged_tables,
)
from moovitamix.warehouse.columns import Moment, OurMoment, metadata, pull
from moovitamix.warehouse.staged_tables import STAGING

__all__ = [
    "PUBLISHED",
    "STAGING",
    "activity_tables",
    "alert_tables",
    "drift_tables",
    "experiment_tables",
    "feedback_tables",
    "figure_tables",
    "metadata",
    "registry_tables",
    "staged_tables",
]

tracks = Table(
    "tracks",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False, comment="The source's id."),
    Column("name", Text, nullable=False, comment="Title; not unique."),
    Column("artist", Text, nullable=False, comment="Performing artist, as sent."),
    Column("songwriters", Text, nullable=False, comment="Songwriters, as sent."),
    Column("duration", Interval, nullable=False, comment="Playing time."),
    Column("album", Text, nullable=False, comment="Album, as sent."),
    Column("created_at", Moment, nullable=False, comment="Created at the source, UTC."),
    Column("updated_at", Moment, nullable=False, comment="May be earlier than created_at."),
    Column("withdrawn_at", Moment, comment="Gone from a complete pull since then, UTC."),
    pull(),
    comment="One row per track of the catalogue.",
)

users = Table(
    "users",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False, comment="The source's id."),
    Column("first_name", Text, nullable=False, comment="Personal."),
    Column("last_name", Text, nullable=False, comment="Personal."),
    Column("email", Text, nullable=False, comment="Personal; not unique."),
    Column("gender", Text, nullable=False, comment="Personal; free text."),
    Column("created_at", Moment, nullable=False, comment="Created at the source, UTC."),
    Column("updated_at", Moment, nullable=False, comment="May be earlier than created_at."),
    pull(),
    Column("withdrawn_at", Moment, comment="Gone from a complete pull since then, UTC."),
    comment="One row per user account.",
)

genres = Table(
    "genres",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="Ours."),
    Column(
        "name", Text, nullable=False, unique=True, comment="Lower case, white space folded to one."
    ),
    comment="One row per genre that a track or a user names.",
)

track_genres = Table(
    "track_genres",
    metadata,
    Column("track_id", ForeignKey("tracks.id"), primary_key=True, comment="The track."),
    Column("genre_id", ForeignKey("genres.id"), primary_key=True, index=True, comment="Its genre."),
    comment="The genres of a track.",
)

user_favorite_genres = Table(
    "user_favorite_genres",
    metadata,
    Column("user_id", ForeignKey("users.id"), primary_key=True, comment="The user."),
    Column(
        "genre_id", ForeignKey("genres.id"), primary_key=True, index=True, comment="A favourite."
    ),
    comment="The genres a user has stated as favourites.",
)

listen_history = Table(
    "listen_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True, comment="Ours."),
    Column("user_id", ForeignKey("users.id"), nullable=False, comment="Who heard it."),
    Column("track_id", ForeignKey("tracks.id"), nullable=False, index=True, comment="What."),
    Column("listened_at", Moment, nullable=False, index=True, comment="When it was heard, UTC."),
    Column("recorded_at", Moment, nullable=False, comment="created_at of the listen record."),
    Column(
        "nth", SmallInteger, nullable=False, comment="Which of several plays in its record, from 1."
    ),
    Column(
        "told",
        Boolean,
        nullable=False,
        server_default=false(),
        comment="Whether the app had told it when it was loaded: no pull need know it.",
    ),
    UniqueConstraint("user_id", "recorded_at", "track_id", "nth", name="uq_listen_history_natural"),
    comment="One row for each time a user heard a track.",
)

# The six tables that make up the product, in the order in which foreign keys allow loading.
PUBLISHED: tuple[Table, ...] = (
    genres,
    tracks,
    users,
    track_genres,
    user_favorite_genres,
    listen_history,
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("sha256", LargeBinary, primary_key=True, comment="Of the payload."),
    Column("payload", LargeBinary, nullable=False, comment="The record as sent, or one listen."),
    Column("day", Date, nullable=False),
    pull(),
    Column("reason", Text, nullable=False),
    Column("field", Text, comment="The offending field, where there is one."),
    Column("first_seen", OurMoment, nullable=False, server_default=text("now()")),
    Column("last_tried", OurMoment, nullable=False, server_default=text("now()")),
    Column("resolved_at", OurMoment),
    Column(
        "key", Text, comment="Whose record it is, where that can be read: see `ingest/whose.py`."
    ),
    comment="What could not be loaded, and why; tried again by each later load.",
)

erasures = Table(
    "erasures",
    metadata,
    Column("hash", LargeBinary, primary_key=True),
    Column(
        "kind",
        Text,
        nullable=False,
        comment="account: of an id; person: of an id and when its account was created.",
    ),
    Column("erased_at", OurMoment, nullable=False, server_default=text("now()")),
    CheckConstraint("kind IN ('account', 'person')", name="known_kind"),
    comment="Who was erased, as keyed hashes; the key is in the lake.",
)

published_days = Table(
    "published_days",
    metadata,
    Column("day", Date, primary_key=True),
    pull("The newest pull when the day was published."),
    Column("run_id", Text, nullable=False),
    Column("published_at", OurMoment, nullable=False, server_default=text("now()")),
    Column(
        "listens",
        BigInteger,
        comment="The most that were staged of it at a publication; null: not known.",
    ),
    comment="The days whose slices passed their checks and are in the tables.",
)

blocked_days = Table(
    "blocked_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("check_name", Text, primary_key=True),
    pull("The newest pull when the day was judged; a newer one has it tried again."),
    Column("since", OurMoment, nullable=False, server_default=text("now()")),
    Column("accepted_by", Text),
    Column("accepted_at", OurMoment),
    Column("content", Text, comment="Tells the judged rows from others: what was accepted."),
    comment="The days that failed a blocking check, until a later load passes or one accepts.",
)

blocklist = Table(
    "blocklist",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("track_id", BigInteger, comment="The track, or null when an artist is blocked."),
    Column("artist", Text, comment="Lower case, white space folded to one; or null."),
    Column("reason", Text),
    Column("until", Date, comment="The last day on which it counts; null: until it is removed."),
    Column("blocked_at", OurMoment, nullable=False, server_default=text("now()")),
    Column("removed_at", OurMoment),
    CheckConstraint("(track_id IS NULL) <> (artist IS NULL)", name="track_or_artist"),
    comment="Tracks and artists that no list may hold, for as long as their entry counts.",
)
for _column in (blocklist.c.track_id, blocklist.c.artist):
    Index(
        f"uq_blocklist_{_column.name}",
        _column,
        unique=True,
        postgresql_where=text("removed_at IS NULL"),
    )

exports = Table(
    "exports",
    metadata,
    Column("folder", Text, primary_key=True, comment="Absolute, on the machine that made it."),
    Column("format", Text, nullable=False, comment="csv, parquet or csv+parquet."),
    Column(
        "made_at",
        OurMoment,
        nullable=False,
        server_default=text("now()"),
        comment="The moment that its files show; until they are there, when it was begun.",
    ),
    comment="Where the tables were exported to: to forget people there, and to remove it in time.",
)
