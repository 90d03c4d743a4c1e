"""From plays to a user-item matrix: summed by user and track, decayed, capped, weighted.

What a matrix is, and which parameters it has, is in `matrix.py`; where plays come from, in
`interactions.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.errors import NothingToDo
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix, end_of, fingerprint_of
from moovitamix.recommend.weighting import weigh_matrix, weigh_pairs

_PAIR = ["user_id", "track_id"]

# Plays are summed in fixed point: the sum, and so the fingerprint, is the same in any row order.
_ONE_PLAY = 1 << 32


def build_matrix(
    interactions: pl.DataFrame, parameters: MatrixParameters, as_of: date
) -> UserItemMatrix:
    """The matrix of some plays. Rows that repeat are plays that repeat.

    Args:
        interactions: One row a play: user_id and track_id (i64), listened_at (datetime[us],
            UTC without a zone). Plays after the as-of day are left out.
        parameters: Weighting, decay, window, cap and support.
        as_of: The day from whose end the age of a play is counted.

    Raises:
        NothingToDo: When no play is left.
    """
    return build_in_blocks([interactions], parameters, as_of)


def build_in_blocks(
    blocks: Iterable[pl.DataFrame], parameters: MatrixParameters, as_of: date
) -> UserItemMatrix:
    """The same from plays that come in blocks: only one block and the matrix are in memory.

    Args:
        blocks: As `build_matrix` takes them; all plays of a user are in one block, and the users
            of a block are above those of the block before.
        parameters: As in `build_matrix`.
        as_of: As in `build_matrix`.

    Raises:
        NothingToDo: When no play is left.
    """
    users, sizes, tracks, plays = [], [], [], []
    for block in blocks:
        pairs = _sum_plays(block, parameters, as_of)
        found, size = np.unique(pairs["user_id"].to_numpy(), return_counts=True)
        users.append(found)
        sizes.append(size)
        tracks.append(pairs["track_id"].to_numpy())
        counted = pairs["play"].to_numpy() / _ONE_PLAY
        plays.append(weigh_pairs(counted, parameters.weighting))
    catalogue = _distinct(tracks)
    columns = np.empty(sum(map(len, tracks)), dtype=np.int32)
    filled = 0
    while tracks:  # each block of ids is let go of when it has become columns
        block_tracks = tracks.pop(0)
        columns[filled : filled + len(block_tracks)] = np.searchsorted(catalogue, block_tracks)
        filled += len(block_tracks)
    indptr = np.concatenate(([0], np.cumsum(_joined(sizes, np.int64))))
    ids = _joined(users, np.int64)
    values = csr_matrix(
        (_joined(plays, np.float32), columns, indptr), shape=(len(ids), len(catalogue))
    )
    values, ids, catalogue = _supported(values, ids, catalogue, parameters.minimum_listeners)
    if not values.nnz:
        raise NothingToDo(
            f"There is no listen up to {as_of} to build a matrix from: "
            "load days that have listens with `moovitamix run`."
        )
    weigh_matrix(values, parameters.weighting)
    fingerprint = fingerprint_of(values, ids, catalogue, parameters)
    return UserItemMatrix(values, ids, catalogue, as_of, parameters, fingerprint)


def _sum_plays(
    interactions: pl.DataFrame, parameters: MatrixParameters, as_of: date
) -> pl.DataFrame:
    """What each pair of user and track was played, in fixed point, ascending by user and track."""
    until = end_of(as_of)
    taken = pl.col("listened_at") < until
    if parameters.window_days is not None:
        taken &= pl.col("listened_at") >= until - timedelta(days=parameters.window_days)
    play = pl.lit(_ONE_PLAY, dtype=pl.Int64)
    if parameters.half_life_days is not None:
        age = (until - pl.col("listened_at")).dt.total_microseconds() / 86_400_000_000
        decayed = (-age / parameters.half_life_days).cast(pl.Float64) * np.log(2)
        play = (decayed.exp() * _ONE_PLAY).round().clip(lower_bound=1).cast(pl.Int64)
    rows = interactions.lazy().filter(taken).with_columns(play=play)
    summed = [pl.col("play").sum(), pl.len().alias("count")]
    if parameters.daily_cap is None:
        rows = rows.group_by(_PAIR).agg(summed)
    else:
        day = pl.col("listened_at").dt.date().alias("day")
        counted = pl.col("count").clip(upper_bound=parameters.daily_cap)
        # The share that counts, by whole plays first: in 64 bits, and the same in any order.
        mean = pl.col("play") // pl.col("count")
        rows = (
            rows.group_by(*_PAIR, day)
            .agg(summed)
            .select(
                *_PAIR,
                play=pl.when(counted < pl.col("count")).then(mean * counted).otherwise("play"),
                count=counted,
            )
            .group_by(_PAIR)
            .agg(pl.col("play").sum(), pl.col("count").sum())
        )
    if parameters.minimum_plays > 1:
        rows = rows.filter(pl.col("count").sum().over("user_id") >= parameters.minimum_plays)
    return rows.select(*_PAIR, "play").sort(_PAIR).collect()


def _distinct(tracks: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """All ids, ascending; block by block, so that no array holds all that repeats."""
    found = np.empty(0, dtype=np.int64)
    for block in tracks:
        found = np.union1d(found, block)
    return found


def _joined(parts: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=dtype), *parts])


def _supported(
    values: csr_matrix, users: NDArray[np.int64], tracks: NDArray[np.int64], listeners: int
) -> tuple[csr_matrix, NDArray[np.int64], NDArray[np.int64]]:
    """Without the tracks that fewer users heard, and without the users who have none left."""
    if listeners == 1:
        return values, users, tracks
    kept = np.bincount(values.indices, minlength=len(tracks)) >= listeners
    values = values[:, kept]
    left = np.diff(values.indptr) > 0
    return values[left], users[left], tracks[kept]
