"""Tracks by how many users heard them: the baseline, and what answers when nothing else can."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.recommend.top_n import TopN


def listeners(matrix: UserItemMatrix) -> NDArray[np.float32]:
    """How many users heard each track, float32 [len(matrix.tracks)]."""
    counts = np.bincount(matrix.values.indices, minlength=len(matrix.tracks))
    return counts.astype(np.float32)


def score_popular(
    matrix: UserItemMatrix,
    n: int,
    *,
    counts: NDArray[np.float32] | None = None,
    exclude: NDArray[np.int64] | None = None,
    repeats: bool = False,
    block_rows: int = 1024,
) -> Iterator[TopN]:
    """For each user of a matrix the n most popular tracks, those already heard left out.

    Takes and yields the same as `top_n.score_users`; scores are numbers of users. These are counted
    in the matrix unless given as `counts`, float32 [len(matrix.tracks)].
    """
    counts = listeners(matrix) if counts is None else counts.copy()
    if exclude is not None:
        counts[np.isin(matrix.tracks, exclude)] = -np.inf
    order = np.lexsort((matrix.tracks, -counts))
    place = np.argsort(order)
    n = min(n, len(order))
    for start in range(0, len(matrix.users), block_rows):
        users = matrix.users[start : start + block_rows]
        heard = matrix.values[start : start + block_rows]
        most = 0 if repeats else int(np.diff(heard.indptr).max())
        taken = np.zeros((len(users), min(n + most, len(order))), dtype=bool)
        if not repeats:
            rows = np.repeat(np.arange(len(users)), np.diff(heard.indptr))
            columns = place[heard.indices]
            near = columns < taken.shape[1]
            taken[rows[near], columns[near]] = True
        # Stable: the first n that are not taken, in the order of popularity.
        best = order[np.argsort(taken, axis=1, kind="stable")[:, :n]]
        lengths = np.minimum(
            n, np.count_nonzero(~taken & np.isfinite(counts[order[: taken.shape[1]]]), axis=1)
        )
        yield TopN(users, matrix.tracks[best], counts[best], lengths)
