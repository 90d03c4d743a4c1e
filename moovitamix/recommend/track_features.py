"""What is known of each track: its artist and genres, its age, and how much it is heard.

What is made of it for tracks that the model does not know is told in `attribute_factors.py`.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from moovitamix.recommend.matrix import end_of

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse

# Genres travel as one text: their names hold no line break, for white space in them is folded.
_BETWEEN_GENRES = "\n"

# Counted and gathered apart, then joined: together each play would count once a genre.
_TRACKS = """
SELECT tracks.id, tracks.artist, coalesce(named.genres, ''),
       (extract(epoch FROM tracks.created_at) * 1000000)::bigint,
       coalesce(heard.listeners, 0), (extract(epoch FROM heard.last_play) * 1000000)::bigint
FROM tracks
LEFT JOIN (
    SELECT track_genres.track_id, string_agg(genres.name, E'\\n' ORDER BY genres.name) AS genres
    FROM track_genres JOIN genres ON genres.id = track_genres.genre_id
    GROUP BY track_genres.track_id
) AS named ON named.track_id = tracks.id
LEFT JOIN (
    SELECT track_id, count(DISTINCT user_id) AS listeners, max(listened_at) AS last_play
    FROM listen_history
    WHERE listened_at < %(until)s
    GROUP BY track_id
) AS heard ON heard.track_id = tracks.id
ORDER BY tracks.id
"""

_TRACKS_SCHEMA = {
    "track_id": pl.Int64,
    "artist": pl.String,
    "genres": pl.String,
    "created_at": pl.Int64,
    "listeners": pl.UInt32,
    "last_listen": pl.Int64,
}


def read_track_features(warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """One row for each track of the warehouse, withdrawn ones too, as of the end of a day.

    Returns:
        track_id; artist (str, lower case, white space folded: a source's artist is one name, also
        where several sing); genres (list of str, ascending, empty where there are none);
        age_days (i64, 0 on the as-of day, negative for what came after it); listeners (u32, users
        who had heard it by then); days_since_last_listen (i64, null for what nobody had heard).
        Ascending by track_id.
    """
    until = {"until": end_of(as_of)}
    return track_features(warehouse.read(_TRACKS, until, schema=_TRACKS_SCHEMA), as_of)


def track_features(tracks: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The features from rows as the warehouse has them; pure.

    Args:
        tracks: track_id, artist as sent, genres (names, a line each), created_at and last_listen
            (microseconds since 1970, the latter null for what nobody heard), listeners.
        as_of: The day from which days are counted back.

    Returns:
        As `read_track_features`.
    """
    created, last = (
        pl.from_epoch(pl.col(name), time_unit="us").dt.date()
        for name in ("created_at", "last_listen")
    )
    day = pl.lit(as_of)
    return tracks.select(
        "track_id",
        folded(pl.col("artist")).alias("artist"),
        pl.when(pl.col("genres") == "")
        .then(pl.lit([], dtype=pl.List(pl.String)))
        .otherwise(pl.col("genres").str.split(_BETWEEN_GENRES))
        .alias("genres"),
        (day - created).dt.total_days().alias("age_days"),
        pl.col("listeners").cast(pl.UInt32),
        (day - last).dt.total_days().alias("days_since_last_listen"),
    ).sort("track_id")


def folded(name: pl.Expr) -> pl.Expr:
    """One spelling of a name: lower case, white space folded to one space, none at the ends."""
    return name.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars(" ")
