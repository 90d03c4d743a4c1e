"""Ranks the catalogue by how many users heard a track: over all, by genre, and for one user.

Unlike `recommend/popularity.py`, the baseline that models are judged against, it ranks tracks that
nobody has heard too, so that every list is as long as the catalogue allows.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.recommend.popularity import listeners
from moovitamix.serve.catalogue import Catalogue


def rank_by_listeners(matrix: UserItemMatrix, catalogue: Catalogue) -> pl.DataFrame:
    """All tracks that can be served, most heard first, equals by ascending id.

    Returns:
        `track_id` (i64), `listeners` (f32): how many users of the matrix heard it, 0 for those
        that nobody heard.
    """
    heard = pl.DataFrame({"track_id": matrix.tracks, "listeners": listeners(matrix)})
    return (
        pl.DataFrame({"track_id": catalogue.tracks})
        .join(heard, on="track_id", how="left")
        .with_columns(pl.col("listeners").fill_null(0.0))
        .sort("listeners", "track_id", descending=[True, False])
    )


def top_of_genres(ranked: pl.DataFrame, track_genres: pl.DataFrame, n: int) -> pl.DataFrame:
    """The n most heard tracks of each genre, as many as the catalogue has if fewer.

    Args:
        ranked: As `rank_by_listeners` returns it.
        track_genres: `genre_id`, `track_id`.
        n: Length of a list.

    Returns:
        `genre_id`, `track_id`, `listeners`; genres ascending, within one most heard first.
    """
    return (
        ranked.with_row_index("place")
        .join(track_genres, on="track_id")
        .sort("genre_id", "place")
        .filter(pl.int_range(pl.len()).over("genre_id") < n)
        .select("genre_id", "track_id", "listeners")
    )


def top_unheard(ranked: NDArray[np.int64], heard: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """The places in a ranking of the first n tracks that a user has not heard.

    Args:
        ranked: Track ids, best first.
        heard: The user's track ids, in any order.
        n: Length of the list; fewer when there are not so many.
    """
    near = ranked[: n + len(heard)]
    return np.flatnonzero(~np.isin(near, heard))[:n].astype(np.int64)
