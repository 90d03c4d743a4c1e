"""Item-item: tracks that the same people heard, as a sparse matrix of similarities.

Ranking users' tracks with it is done in `rankers.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.recommend.blas import one_thread

# Similar tracks kept of each track, and BM25's two constants: see docs/model.md.
NEIGHBOURS = 100
_SATURATION = 1.2
_LENGTH_NORM = 0.75


def similarities(values: csr_matrix, neighbours: int = NEIGHBOURS) -> csr_matrix:
    """The cosine of tracks over BM25-weighted listeners, of each track's nearest ones only.

    BM25 (Robertson & Zaragoza, "The Probabilistic Relevance Framework", 2009, eq. 3.15) takes a
    user for a document and a track for a term: tracks that everybody hears count less, and so do
    those of users who hear everything.

    Args:
        values: CSR [users, tracks], above 0.
        neighbours: Kept of each track, the strongest; itself is not among them.

    Returns:
        CSR float32 [tracks, tracks]: from a heard track (row) to those it speaks for. Equal
        similarities at the end of a row are taken as they come, the same in each run.
    """
    from implicit.nearest_neighbours import all_pairs_knn

    weighted = _bm25(values).tocsc()
    lengths = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=0)).ravel())
    weighted.data /= np.repeat(np.maximum(lengths, np.finfo(np.float64).tiny), _counts(weighted))
    with one_thread():
        near = all_pairs_knn(weighted.tocsr(), neighbours + 1, show_progress=False).tocsr()
    near.setdiag(0)
    near.eliminate_zeros()
    near.sort_indices()
    return near.astype(np.float32)


def _bm25(values: csr_matrix) -> csr_matrix:
    plays = values.astype(np.float64)
    heard_by = np.bincount(plays.indices, minlength=plays.shape[1])
    rarity = np.log1p((plays.shape[0] - heard_by + 0.5) / (heard_by + 0.5))
    length = np.asarray(plays.sum(axis=1)).ravel()
    norm = 1 - _LENGTH_NORM + _LENGTH_NORM * length / length.mean()
    saturation = _SATURATION * np.repeat(norm, np.diff(plays.indptr))
    plays.data *= (_SATURATION + 1) / (plays.data + saturation) * rarity[plays.indices]
    return plays


def _counts(matrix: csr_matrix) -> NDArray[np.int64]:
    counts: NDArray[np.int64] = np.diff(matrix.indptr)
    return counts
