"""What is known of each user: how much they listen, how lately, and to which genres."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from moovitamix.recommend.matrix import end_of

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse

# How many of the genres a user has heard are kept.
TOP_GENRES = 3

_ACTIVITY = """
SELECT users.id, count(play.id), count(DISTINCT play.track_id),
       count(DISTINCT play.listened_at::date),
       (extract(epoch FROM max(play.listened_at)) * 1000000)::bigint
FROM users
LEFT JOIN listen_history AS play ON play.user_id = users.id AND play.listened_at < %(until)s
GROUP BY users.id
"""

_STATED_GENRES = """
SELECT stated.user_id, genres.name
FROM user_favorite_genres AS stated
JOIN genres ON genres.id = stated.genre_id
"""

# A play of a track with several genres counts for each of them.
_HEARD_GENRES = """
SELECT play.user_id, genres.name, count(*)
FROM listen_history AS play
JOIN track_genres ON track_genres.track_id = play.track_id
JOIN genres ON genres.id = track_genres.genre_id
WHERE play.listened_at < %(until)s
GROUP BY play.user_id, genres.name
"""


def read_user_features(warehouse: Warehouse, as_of: date) -> pl.DataFrame:
    """One row for each user of the warehouse, as things stood at the end of a day.

    Returns:
        user_id; plays, distinct_tracks, active_days (u32, 0 for who never listened); last_listen
        (datetime[us], UTC) and days_since_last_listen (i64), null for who never listened;
        favorite_genres (stated, by name) and top_genres (heard most, at most three): lists of
        str, empty where there are none. Ascending by user_id.
    """
    until = {"until": end_of(as_of)}
    activity = warehouse.read(
        _ACTIVITY,
        until,
        schema={
            "user_id": pl.Int64,
            "plays": pl.UInt32,
            "distinct_tracks": pl.UInt32,
            "active_days": pl.UInt32,
            "last_listen": pl.Int64,
        },
    )
    stated = warehouse.read(_STATED_GENRES, schema={"user_id": pl.Int64, "genre": pl.String})
    heard = warehouse.read(
        _HEARD_GENRES,
        until,
        schema={"user_id": pl.Int64, "genre": pl.String, "plays": pl.Int64},
    )
    return combine_features(activity, stated, heard, as_of)


def combine_features(
    activity: pl.DataFrame, stated: pl.DataFrame, heard: pl.DataFrame, as_of: date
) -> pl.DataFrame:
    """The features of users from their activity, stated and heard genres; pure.

    Args:
        activity: user_id, plays, distinct_tracks, active_days, last_listen (microseconds since
            1970 or null): a row per user.
        stated: user_id, genre.
        heard: user_id, genre, plays.
        as_of: The day from which days are counted back.

    Returns:
        As `read_user_features`.
    """
    favorites = stated.sort("user_id", "genre").group_by("user_id", maintain_order=True)
    tops = (
        heard.sort("user_id", "plays", "genre", descending=[False, True, False])
        .group_by("user_id", maintain_order=True)
        .head(TOP_GENRES)
        .group_by("user_id", maintain_order=True)
    )
    no_genres = pl.lit([], dtype=pl.List(pl.String))
    return (
        activity.with_columns(pl.col("last_listen").cast(pl.Datetime("us")))
        .with_columns(
            days_since_last_listen=(pl.lit(as_of) - pl.col("last_listen").dt.date()).dt.total_days()
        )
        .join(favorites.agg(favorite_genres="genre"), on="user_id", how="left")
        .join(tops.agg(top_genres="genre"), on="user_id", how="left")
        .with_columns(pl.col("favorite_genres", "top_genres").fill_null(no_genres))
        .sort("user_id")
    )
