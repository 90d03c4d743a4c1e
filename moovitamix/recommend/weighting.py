"""From plays to values: how much an old play, a track's second one and a rare track count."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Weighting = Literal["log1p", "sqrt", "binary", "bm25"]

# Of BM25. How slowly plays saturate: with tf = K1 a value is half of what it can become. High,
# for a hundredth play still says something; text search takes 1.2, for a word is soon enough.
K1 = 100.0
# How far a user's number of plays discounts each of them: 0 not at all, 1 in full.
B = 0.8

# Plays are summed in fixed point: the sum, and so the fingerprint, is the same in any row order.
ONE_PLAY = 1 << 32

_PAIRS_AT_ONCE = 1 << 16


def worth(half_life_days: float | None, until: datetime) -> pl.Expr:
    """How much a play of the column `listened_at` counts at a moment: i64, in fixed point."""
    if half_life_days is None:
        return pl.lit(ONE_PLAY, dtype=pl.Int64)
    age = (until - pl.col("listened_at")).dt.total_microseconds() / 86_400_000_000
    decayed = (-age / half_life_days).cast(pl.Float64) * np.log(2)
    counted: pl.Expr = (decayed.exp() * ONE_PLAY).round().clip(lower_bound=1).cast(pl.Int64)
    return counted


def weigh_pairs(plays: NDArray[np.float64], weighting: Weighting) -> NDArray[np.float32]:
    """What can be said of a pair alone.

    Args:
        plays: Of each pair, decayed, above 0.
        weighting: log(1 + plays) for log1p, their square root for sqrt, 1 for binary. For bm25 the
            plays as they are: `weigh_matrix` does the rest when all pairs are known.
    """
    if weighting == "log1p":
        return np.log1p(plays).astype(np.float32)
    if weighting == "sqrt":
        return np.sqrt(plays).astype(np.float32)
    if weighting == "bm25":
        return plays.astype(np.float32)
    return np.ones(len(plays), dtype=np.float32)


def weigh_matrix(values: Any, weighting: Weighting) -> None:
    """Weigh a CSR matrix of users and tracks, in place, by what takes all pairs to know.

    BM25 (Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009,
    equation 3.15) with users for documents and tracks for terms:

        tf (K1 + 1) / (tf + K1 (1 - B + B length / mean length)) · idf

    tf being plays, length a user's plays, and idf = log(1 + (N - n + 0.5) / (n + 0.5)) for a
    track that n of N users heard. The 1 is Lucene's: without it, what more than half of all
    users heard would have a negative value.
    """
    if weighting != "bm25" or not values.nnz:
        return
    users, tracks = values.shape
    # Pairs and rows are taken in parts: there is no second copy of the matrix.
    parts = list(_rows_at_once(values.indptr))
    lengths = np.empty(users)
    listeners = np.zeros(tracks, dtype=np.int64)
    for rows, pairs in parts:
        starts = values.indptr[rows] - pairs.start
        lengths[rows] = np.add.reduceat(values.data[pairs], starts, dtype=np.float64)
        listeners += np.bincount(values.indices[pairs], minlength=tracks)
    idf = np.log1p((users - listeners + 0.5) / (listeners + 0.5)).astype(np.float32)
    slowness = (K1 * (1 - B + B * lengths / lengths.mean())).astype(np.float32)
    for rows, pairs in parts:
        sizes = np.diff(values.indptr[rows.start : rows.stop + 1])
        weighed = values.data[pairs]
        weighed /= weighed + np.repeat(slowness[rows], sizes)
        weighed *= np.float32(K1 + 1)
        weighed *= idf[values.indices[pairs]]


def _rows_at_once(offsets: NDArray[np.integer[Any]]) -> Iterator[tuple[slice, slice]]:
    """Rows of a CSR matrix with some 65,000 pairs, or one with more, and where their pairs are."""
    start, rows = 0, len(offsets) - 1
    while start < rows:
        stop = int(np.searchsorted(offsets, int(offsets[start]) + _PAIRS_AT_ONCE, "right")) - 1
        stop = min(max(stop, start + 1), rows)
        yield slice(start, stop), slice(int(offsets[start]), int(offsets[stop]))
        start = stop
