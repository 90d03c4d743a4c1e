"""What the warehouse tells the cache: which tracks there are, their genres, and stated favourites.

What has been heard comes from the user-item matrix, not from here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend.champion import Champion, read_new_releases
from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.recommend.new_releases import NewReleases
from moovitamix.resources import copy_out
from moovitamix.settings import get_settings
from moovitamix.warehouse.blocklist import BLOCKED_TRACKS
from moovitamix.warehouse.feedback import PAIRS, read_hides

if TYPE_CHECKING:
    from moovitamix.resources import Warehouse

_TRACKS = f"""
SELECT id, withdrawn_at IS NOT NULL OR id IN ({BLOCKED_TRACKS}) FROM tracks ORDER BY id
"""  # noqa: S608
_TRACK_GENRES = "SELECT genre_id, track_id FROM track_genres ORDER BY genre_id, track_id"
_WITHDRAWN_USERS = "SELECT id FROM users WHERE withdrawn_at IS NOT NULL ORDER BY id"
_FAVORITES = "SELECT user_id, genre_id FROM user_favorite_genres ORDER BY user_id, genre_id"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Catalogue:
    """The tracks that can be served, and by which genres.

    Attributes:
        tracks: int64, ascending: the tracks neither withdrawn nor on the blocklist.
        withdrawn: int64, ascending: those that are; no list may hold them.
        track_genres: `genre_id`, `track_id` (i64), ascending.
        favorite_genres: `user_id`, `genre_id` (i64), ascending: what users have stated.
        withdrawn_users: int64, ascending: they get no list of their own.
        hides: `user_id`, `track_id` (i64), ascending: what no list of the user may hold.
    """

    tracks: NDArray[np.int64]
    withdrawn: NDArray[np.int64]
    track_genres: pl.DataFrame
    favorite_genres: pl.DataFrame
    withdrawn_users: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    hides: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=PAIRS))


def read_catalogue(warehouse: Warehouse) -> Catalogue:
    """The catalogue as the warehouse has it now.

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    id_ = pl.Int64()
    with warehouse.connect() as connection:
        today = {"today": get_settings().present().astimezone(UTC).date()}
        tracks = copy_out(connection, _TRACKS, today, schema={"id": id_, "withdrawn": pl.String()})
        genres = copy_out(connection, _TRACK_GENRES, schema={"genre_id": id_, "track_id": id_})
        stated = copy_out(connection, _FAVORITES, schema={"user_id": id_, "genre_id": id_})
        gone = copy_out(connection, _WITHDRAWN_USERS, schema={"id": id_})
        hides = read_hides(connection)
    ids, withdrawn = tracks["id"].to_numpy(), (tracks["withdrawn"] == "t").to_numpy()
    return Catalogue(
        tracks=ids[~withdrawn],
        withdrawn=ids[withdrawn],
        track_genres=genres,
        favorite_genres=stated,
        withdrawn_users=gone["id"].to_numpy(),
        hides=hides,
    )


def read_wanted_releases(
    warehouse: Warehouse, champion: Champion, matrix: UserItemMatrix, exclude: NDArray[np.int64]
) -> NewReleases | None:
    """The new releases that lists keep places for; None where the setting wants none.

    Args:
        warehouse: Knows the tracks.
        champion: Whose lists they are for.
        matrix: What the lists are made from.
        exclude: Track ids that no list may hold (withdrawn ones).

    Raises:
        StoreUnavailable: When Postgres does not answer.
    """
    if not get_settings().new_releases:
        return None
    return read_new_releases(warehouse, champion, matrix, exclude)
