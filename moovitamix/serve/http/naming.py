"""Reads what a process tells tracks by: names, genres, and which genres users have stated.

How these are held is told in `tracks.py` and `world.py`, when they are read in `refresh.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import polars as pl

from moovitamix.resources import copy_out
from moovitamix.serve.http.tracks import Tracks, tell_tracks
from moovitamix.serve.http.world import Favourites

if TYPE_CHECKING:
    import psycopg

_TRACKS = "SELECT id, name, artist FROM tracks ORDER BY id"
_GENRES = "SELECT id, name FROM genres ORDER BY id"
_TRACK_GENRES = "SELECT genre_id, track_id FROM track_genres ORDER BY genre_id, track_id"
_FAVOURITES = "SELECT user_id, genre_id FROM user_favorite_genres ORDER BY user_id, genre_id"
_OF_TRACKS = {"genre_id": pl.Int64(), "track_id": pl.Int64()}
_OF_USERS = {"user_id": pl.Int64(), "genre_id": pl.Int64()}


def read_names(connection: psycopg.Connection) -> tuple[Tracks, Favourites] | None:
    """The name table and stated genres; None where there is no track yet."""
    rows = cast("list[tuple[int, str, str]]", connection.execute(_TRACKS).fetchall())
    genres = cast("list[tuple[int, str]]", connection.execute(_GENRES).fetchall())
    track_genres = copy_out(connection, _TRACK_GENRES, schema=_OF_TRACKS)
    stated = copy_out(connection, _FAVOURITES, schema=_OF_USERS)
    if not rows:
        return None
    tracks = tell_tracks(rows, genres, track_genres.to_numpy())
    return tracks, Favourites(stated["user_id"].to_numpy(), stated["genre_id"].to_numpy())
