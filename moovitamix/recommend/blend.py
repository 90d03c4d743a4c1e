"""The whole rule by which a version ranks: ALS and, where repeats are allowed, own late plays.

How much own plays count is part of a version and chosen in `blend_choice.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from moovitamix.errors import SettingsError
from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.blas import one_thread
from moovitamix.recommend.left_out import NOTHING, LeftOut
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix, in_columns, rows_of
from moovitamix.recommend.new_releases import NewReleases
from moovitamix.recommend.top_n import TopN, rank_scores, score_users


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendParameters:
    """How ALS and own plays are mixed where repeats are allowed; the default is ALS alone.

    Attributes:
        own_plays: Weight of the user's own plays, ALS having 1; both are scaled by their best.
        half_life_days: After so many days an own play counts half.
    """

    own_plays: float = 0.0
    half_life_days: float = 7.0

    def __post_init__(self) -> None:
        if not (0 <= self.own_plays < np.inf and 0 < self.half_life_days < np.inf):
            raise SettingsError("own_plays must be at least 0 and half_life_days above 0.")

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> BlendParameters:
        """Those of a version's parameters; ALS alone for versions of before there was a blend."""
        return cls(**parameters.get("blend", {}))

    @property
    def recent(self) -> MatrixParameters:
        """How the matrix of own plays is made. log(1 + x) keeps the order of decayed plays."""
        return MatrixParameters(half_life_days=self.half_life_days)


ALS_ALONE = BlendParameters()


def score_repeats(
    model: AlsModel,
    matrix: UserItemMatrix,
    blend: BlendParameters,
    recent: UserItemMatrix | None,
    n: int,
    *,
    exclude: NDArray[np.int64] | None = None,
    releases: NewReleases | None = None,
    left_out: LeftOut = NOTHING,
    block_rows: int = 1024,
) -> Iterator[TopN]:
    """For each user of a matrix the n best tracks, already-heard ones among them.

    Args:
        model: Its tracks are what can be recommended.
        matrix: Made with the model's `matrix_parameters`.
        blend: Of the version.
        recent: Own plays by `blend.recent`, of the same users; None where own plays do not count.
        n: Length of a list.
        exclude: Track ids that no list may hold (withdrawn ones).
        releases: What has kept places in the lists, unheard here too; None: nothing.
        left_out: What the lists of single users may not hold.
        block_rows: Users a block.

    Yields:
        As `top_n.score_users`.
    """
    if recent is None or not blend.own_plays:
        yield from score_users(
            model,
            matrix,
            n,
            exclude=exclude,
            repeats=True,
            releases=releases,
            left_out=left_out,
            block_rows=block_rows,
        )
        return
    values = in_columns(matrix, model.tracks)
    heard = None if releases is None else in_columns(matrix, releases.tracks)
    own = rows_of(recent, matrix.users, model.tracks)
    for start in range(0, len(matrix.users), block_rows):
        rows = slice(start, start + block_rows)
        factors = model.solve_users(values[rows])
        scores = blended(_affinity(model, factors), own[rows], blend)
        users = matrix.users[rows]
        unwanted = left_out.rows(users, model.tracks)
        block = rank_scores(users, scores, model.tracks, n, leave_out=unwanted, exclude=exclude)
        known = np.diff(values[rows].indptr) > 0
        block = replace(block, lengths=np.where(known, block.lengths, 0))
        if releases is not None and heard is not None:
            unwanted = heard[rows] + left_out.rows(users, releases.tracks)
            block = releases.place(block, factors, unwanted)
        yield block


def preferences(model: AlsModel, values: csr_matrix) -> NDArray[np.float32]:
    """ALS' scores of rows of values for all tracks of the model, each row's best being 1."""
    return _affinity(model, model.solve_users(values))


def _affinity(model: AlsModel, factors: NDArray[np.float32]) -> NDArray[np.float32]:
    with one_thread():
        return scaled(factors @ model.item_factors.T)


def blended(
    affinity: NDArray[np.float32], own: csr_matrix, blend: BlendParameters
) -> NDArray[np.float32]:
    """ALS' scaled scores plus those of own plays: float32 [rows, tracks]."""
    found: NDArray[np.float32] = affinity + np.float32(blend.own_plays) * scaled(own.toarray())
    return found


def scaled(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores, float32 [rows, tracks], with each row's best being 1."""
    best = scores.max(axis=1, keepdims=True, initial=0)
    found: NDArray[np.float32] = scores / np.maximum(best, np.finfo(np.float32).tiny)
    return found
