"""From plays to values: how much an old play, a track's second one and a rare track count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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


def weigh_matrix(values: Any, weighting: Weighting) -> float | None:
    """Weigh a CSR matrix of users and tracks, in place, by what takes all pairs to know.

    BM25 (Robertson & Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009,
    equation 3.15) with users for documents and tracks for terms:

        tf (K1 + 1) / (tf + K1 (1 - B + B length / mean length)) · idf

    tf being plays, length a user's plays, and idf = log(1 + (N - n + 0.5) / (n + 0.5)) for a
    track that n of N users heard. The 1 is Lucene's: without it, what more than half of all
    users heard would have a negative value.

    Returns:
        The mean length, for `weigh_rows`; None where the weighting needs none.
    """
    if weighting != "bm25" or not values.nnz:
        return None
    lengths = np.empty(values.shape[0])
    for rows, pairs in _rows_at_once(values.indptr):
        starts = values.indptr[rows] - pairs.start
        lengths[rows] = np.add.reduceat(values.data[pairs], starts, dtype=np.float64)
    mean = float(lengths.mean())
    _weigh_bm25(values, lengths, mean, _rarity(listeners_of(values), values.shape[0]))
    return mean


@dataclass(frozen=True, eq=False, slots=True)
class Statistics:
    """What a weighting knows of all users: with it, the row of one can be weighed alone.

    Attributes:
        users: How many there are.
        listeners: int64 [tracks]: how many of them heard each.
        mean_plays: Of a user, as `weigh_matrix` returned it.
    """

    users: int
    listeners: NDArray[np.int64]
    mean_plays: float | None


def weigh_rows(values: Any, weighting: Weighting, known: Statistics) -> None:
    """Weigh further rows as `weigh_matrix` weighed the matrix, in place.

    Args:
        values: CSR [any rows, tracks], plays as `weigh_pairs` leaves them.
        weighting: Which.
        known: Of the matrix, by the same columns.

    Raises:
        ValueError: When the mean is needed and not known.
    """
    if weighting != "bm25" or not values.nnz:
        return
    if known.mean_plays is None:
        raise ValueError("BM25 needs the mean of the matrix: make the matrix anew.")
    lengths = np.asarray(values.sum(axis=1, dtype=np.float64)).ravel()
    _weigh_bm25(values, lengths, known.mean_plays, _rarity(known.listeners, known.users))


def listeners_of(values: Any) -> NDArray[np.int64]:
    """How many users heard each track of a CSR matrix: int64 [tracks]."""
    found = np.zeros(values.shape[1], dtype=np.int64)
    for _, pairs in _rows_at_once(values.indptr):
        found += np.bincount(values.indices[pairs], minlength=len(found))
    return found


def _rarity(listeners: NDArray[np.int64], users: int) -> NDArray[np.float32]:
    """The idf of each track."""
    return np.log1p((users - listeners + 0.5) / (listeners + 0.5)).astype(np.float32)


def _weigh_bm25(
    values: Any, lengths: NDArray[np.float64], mean: float, idf: NDArray[np.float32]
) -> None:
    # Pairs and rows are taken in parts: there is no second copy of the matrix.
    slowness = (K1 * (1 - B + B * lengths / mean)).astype(np.float32)
    for rows, pairs in _rows_at_once(values.indptr):
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
