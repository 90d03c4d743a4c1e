"""Both lists of a few users from one scoring: of what is new to them, and of what may be repeated.

The rules are those of `top_n.py` and `blend.py`, which score many users, each for one kind of list,
at the full speed of all cores. Folding somebody in, the scores of the whole catalogue cost the
most: here they are computed once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.blas import one_thread
from moovitamix.recommend.blend import BlendParameters, blended, scaled
from moovitamix.recommend.left_out import NOTHING, LeftOut
from moovitamix.recommend.matrix import UserItemMatrix, in_columns, rows_of
from moovitamix.recommend.new_releases import NewReleases
from moovitamix.recommend.top_n import TopN, rank_scores

# Up to so many users are scored one by one. To multiply matrices, BLAS first brings all factors of
# tracks into another order: 2.5 ms of 20,000 tracks, where a user alone takes 0.3.
_ONE_BY_ONE = 6
# The factors of so many tracks stay in a core's cache from one user to the next.
_TRACKS_AT_ONCE = 1_024


def score_both(
    model: AlsModel,
    matrix: UserItemMatrix,
    blend: BlendParameters,
    recent: UserItemMatrix | None,
    n: int,
    *,
    exclude: NDArray[np.int64] | None = None,
    releases: NewReleases | None = None,
    left_out: LeftOut = NOTHING,
    block_rows: int = 64,
) -> Iterator[tuple[TopN, TopN]]:
    """For each user of a matrix the n best tracks they have not heard, and the n best of all.

    Args:
        model: Its tracks are what can be recommended.
        matrix: Made with the model's `matrix_parameters`.
        blend: Of the version; counts where tracks may be repeated.
        recent: Own plays by `blend.recent`, of the same users; None where own plays do not count.
        n: Length of a list.
        exclude: Track ids that no list may hold (withdrawn ones).
        releases: What has kept places in the lists, unheard in both; None: nothing.
        left_out: What the lists of single users may not hold.
        block_rows: Users a block.

    Yields:
        Of each block of users, in the order of `matrix.users`, what `top_n.score_users` and
        `blend.score_repeats` yield, but for the rounding of scores.
    """
    values = in_columns(matrix, model.tracks)
    heard = None if releases is None else in_columns(matrix, releases.tracks)
    own = None
    if recent is not None and blend.own_plays:
        own = rows_of(recent, matrix.users, model.tracks)
    for start in range(0, len(matrix.users), block_rows):
        part = slice(start, start + block_rows)
        users, rows = matrix.users[part], values[part]
        factors = model.solve_users(rows)
        scores = _scores(model, factors)
        hidden = left_out.rows(users, model.tracks)
        fresh = rank_scores(
            users,
            scores,
            model.tracks,
            n,
            leave_out=rows + hidden if hidden.nnz else rows,
            exclude=exclude,
        )
        if own is not None:
            scores = blended(scaled(scores), own[part], blend)
        repeated = rank_scores(users, scores, model.tracks, n, leave_out=hidden, exclude=exclude)
        known = np.diff(rows.indptr) > 0
        both = [
            replace(block, lengths=np.where(known, block.lengths, 0)) for block in (fresh, repeated)
        ]
        if releases is not None and heard is not None:
            unwanted = heard[part] + left_out.rows(users, releases.tracks)
            both = [releases.place(block, factors, unwanted) for block in both]
        yield both[0], both[1]


def _scores(model: AlsModel, factors: NDArray[np.float32]) -> NDArray[np.float32]:
    tracks = model.item_factors
    with one_thread():
        if len(factors) > _ONE_BY_ONE:
            return factors @ tracks.T
        scores = np.empty((len(factors), len(tracks)), dtype=np.float32)
        for start in range(0, len(tracks), _TRACKS_AT_ONCE):
            part = slice(start, start + _TRACKS_AT_ONCE)
            for user, row in zip(factors, scores, strict=True):
                np.matmul(tracks[part], user, out=row[part])
    return scores
