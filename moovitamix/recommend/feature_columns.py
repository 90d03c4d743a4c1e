"""The columns of `user_features` in Dagster's words. How they are made: `features.py`."""

from __future__ import annotations

import dagster as dg

from moovitamix.tabular import Tabular

_COLUMNS = (
    ("user_id", "int64", "The source's id."),
    ("plays", "uint32", "0 for who never listened."),
    ("distinct_tracks", "uint32", "How many tracks were heard at least once."),
    ("active_days", "uint32", "Days in UTC with a play."),
    ("last_listen", "timestamp", "UTC; null for who never listened."),
    ("days_since_last_listen", "int64", "Up to the day as of which it is; null likewise."),
    ("favorite_genres", "list[string]", "Stated, by name; empty where there are none."),
    ("top_genres", "list[string]", "Heard most, at most three; empty where there are none."),
)

USER_FEATURES = Tabular(
    [dg.TableColumn(name, type=kind, description=told) for name, kind, told in _COLUMNS],
    {
        "user_id": ["users.id"],
        "plays": ["listen_history.user_id", "listen_history.listened_at"],
        "distinct_tracks": ["listen_history.track_id", "listen_history.listened_at"],
        "active_days": ["listen_history.listened_at"],
        "last_listen": ["listen_history.listened_at"],
        "days_since_last_listen": ["listen_history.listened_at"],
        "favorite_genres": ["user_favorite_genres.genre_id"],
        "top_genres": ["listen_history.track_id", "track_genres.genre_id"],
    },
    dg.TableConstraints(other=["one row for each user"]),
)
