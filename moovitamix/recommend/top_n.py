"""Top-N lists from a model's factors, in blocks of bounded memory.

What is done with the lists (cache, evaluation) is told elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.recommend.als import FEW_ROWS, AlsModel
from moovitamix.recommend.blas import one_thread
from moovitamix.recommend.left_out import NOTHING, LeftOut
from moovitamix.recommend.matrix import UserItemMatrix, in_columns

if TYPE_CHECKING:
    from moovitamix.recommend.new_releases import NewReleases

# The score implicit's topk gives to what is left out.
_LEFT_OUT = np.finfo(np.float32).min


@dataclass(frozen=True, eq=False, slots=True)
class TopN:
    """Lists of tracks, one a row, best first; equal scores by ascending track id.

    Attributes:
        ids: int64 [rows]: the users, or the tracks, whose lists these are.
        tracks: int64 [rows, n]: track ids.
        scores: float32 [rows, n].
        lengths: int64 [rows]: how many entries of each row count; what follows them is filling.
    """

    ids: NDArray[np.int64]
    tracks: NDArray[np.int64]
    scores: NDArray[np.float32]
    lengths: NDArray[np.int64]


def score_users(
    model: AlsModel,
    matrix: UserItemMatrix,
    n: int,
    *,
    exclude: NDArray[np.int64] | None = None,
    repeats: bool = False,
    releases: NewReleases | None = None,
    left_out: LeftOut = NOTHING,
    block_rows: int = 1024,
) -> Iterator[TopN]:
    """For each user of a matrix the n tracks of highest score, those already heard left out.

    The users' factors are folded in from the matrix, which may be newer than the model. A user
    none of whose tracks the model knows gets an empty list.

    Args:
        model: Its tracks are what can be recommended.
        matrix: Made with the model's `matrix_parameters`.
        n: Length of a list; fewer where there are not so many tracks.
        exclude: Track ids that no list may hold (withdrawn ones).
        repeats: True: already-heard tracks may be in the lists.
        releases: What has kept places in the lists; None: nothing.
        left_out: What the lists of single users may not hold, heard or not.
        block_rows: Users a block.

    Yields:
        Blocks in the order of `matrix.users`.
    """
    values = in_columns(matrix, model.tracks)
    heard = None if releases is None else in_columns(matrix, releases.tracks)
    for start in range(0, len(matrix.users), block_rows):
        rows = values[start : start + block_rows]
        users = matrix.users[start : start + block_rows]
        factors = model.solve_users(rows)
        unwanted = left_out.rows(users, model.tracks)
        block = rank(
            users,
            factors,
            model.item_factors,
            model.tracks,
            n,
            leave_out=unwanted if repeats else rows + unwanted if unwanted.nnz else rows,
            exclude=exclude,
        )
        known = np.diff(rows.indptr) > 0
        block = replace(block, lengths=np.where(known, block.lengths, 0))
        if releases is not None and heard is not None:
            unwanted = heard[start : start + block_rows] + left_out.rows(users, releases.tracks)
            block = releases.place(block, factors, unwanted)
        yield block


def similar_tracks(
    model: AlsModel,
    n: int,
    *,
    exclude: NDArray[np.int64] | None = None,
    block_rows: int = 1024,
) -> Iterator[TopN]:
    """For each track the n whose factors point the same way (cosine), itself left out.

    Args:
        model: Any.
        n: Length of a list.
        exclude: Track ids that no list may hold.
        block_rows: Tracks a block.

    Yields:
        Blocks in the order of `model.tracks`; scores are cosines.
    """
    norms = np.linalg.norm(model.item_factors, axis=1, keepdims=True)
    directions = model.item_factors / np.maximum(norms, np.finfo(np.float32).tiny)
    width = len(model.tracks)
    for start in range(0, width, block_rows):
        tracks = model.tracks[start : start + block_rows]
        own = np.arange(len(tracks))
        itself = csr_matrix(
            (np.ones(len(own), dtype=np.float32), (own, own + start)), shape=(len(own), width)
        )
        yield rank(
            tracks,
            directions[start : start + block_rows],
            directions,
            model.tracks,
            n,
            leave_out=itself,
            exclude=exclude,
        )


def rank(
    ids: NDArray[np.int64],
    queries: NDArray[np.float32],
    items: NDArray[np.float32],
    tracks: NDArray[np.int64],
    n: int,
    *,
    leave_out: csr_matrix | None = None,
    exclude: NDArray[np.int64] | None = None,
) -> TopN:
    """For each query the n items of highest inner product; equals by ascending track id.

    Args:
        ids: int64 [rows]: whose queries they are.
        queries: float32 [rows, factors].
        items: float32 [tracks, factors].
        tracks: int64 [tracks], ascending: the ids of the items.
        n: Length of a list.
        leave_out: CSR [rows, tracks]: what is stored in a row is left out of its list.
        exclude: Track ids left out of all lists.
    """
    from implicit.cpu.topk import topk

    excluded = np.flatnonzero(np.isin(tracks, exclude)) if exclude is not None else None
    n = min(n, len(tracks))
    with one_thread():  # it has threads of its own
        columns, scores = topk(
            items,
            queries,
            min(n + 1, len(tracks)),  # one more, to see where a list ends among equals
            filter_query_items=leave_out,
            filter_items=excluded,
            num_threads=1 if len(queries) < FEW_ROWS else 0,
        )
    columns = columns.astype(np.int64)
    if columns.shape[1] > n:
        # Which of the equals at its end a list holds is chance: there, sort all.
        torn = (scores[:, n - 1] == scores[:, n]) & (scores[:, n] > _LEFT_OUT)
        for row in np.flatnonzero(torn).tolist():
            every = items @ queries[row]
            every[_left_out(row, leave_out, excluded)] = _LEFT_OUT
            columns[row, :n] = np.argsort(-every, kind="stable")[:n]
            scores[row, :n] = every[columns[row, :n]]
        columns, scores = columns[:, :n], scores[:, :n]
    order = np.lexsort((columns, -scores), axis=1)
    columns = np.take_along_axis(columns, order, axis=1)
    scores = np.take_along_axis(scores, order, axis=1)
    return TopN(ids, tracks[columns], scores, np.count_nonzero(scores > _LEFT_OUT, axis=1))


def rank_scores(
    ids: NDArray[np.int64],
    scores: NDArray[np.float32],
    tracks: NDArray[np.int64],
    n: int,
    *,
    leave_out: csr_matrix | None = None,
    exclude: NDArray[np.int64] | None = None,
) -> TopN:
    """For each row the n tracks of highest score; equals by ascending track id.

    Args:
        ids: int64 [rows]: whose scores they are.
        scores: float32 [rows, tracks]; minus infinity for what no list of the row may hold.
        tracks: int64 [tracks], ascending.
        n: Length of a list.
        leave_out: CSR [rows, tracks]: what is stored in a row is left out of its list.
        exclude: Track ids left out of all lists.
    """
    n = min(n, len(tracks))
    if leave_out is not None or exclude is not None:
        scores = scores.copy()
    if leave_out is not None:
        scores[
            np.repeat(np.arange(len(ids)), np.diff(leave_out.indptr)), leave_out.indices
        ] = -np.inf
    if exclude is not None:
        scores[:, np.isin(tracks, exclude)] = -np.inf
    # All that reach the n-th highest score: with equals at the end, more than n.
    least = np.partition(scores, -n, axis=1)[:, -n, None]
    rows, columns = np.nonzero((scores >= least) & (scores > -np.inf))
    reached = scores[rows, columns]
    order = np.lexsort((columns, -reached, rows))
    counts = np.bincount(rows, minlength=len(ids))
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    order, rows, place = order[place < n], rows[place < n], place[place < n]
    best = np.zeros((len(ids), n), dtype=np.int64)
    values = np.full((len(ids), n), _LEFT_OUT, dtype=np.float32)
    best[rows, place], values[rows, place] = columns[order], reached[order]
    return TopN(ids, tracks[best], values, np.minimum(counts, n))


def _left_out(
    row: int, leave_out: csr_matrix | None, excluded: NDArray[np.intp] | None
) -> NDArray[np.intp]:
    columns = [] if excluded is None else [excluded]
    if leave_out is not None:
        columns.append(leave_out.indices[leave_out.indptr[row] : leave_out.indptr[row + 1]])
    return np.concatenate([np.empty(0, dtype=np.intp), *columns]).astype(np.intp)
