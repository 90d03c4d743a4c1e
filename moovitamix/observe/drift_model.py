"""How a model does on one day that it has not seen: ranks of what was played, and NDCG by user.

The model is the champion, or its configuration fitted to less, which tells what is usual: with
hindsight. What counts as far from usual is told in `drift_null.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from threadpoolctl import threadpool_limits

from moovitamix.errors import NothingToDo
from moovitamix.observe import drift_measures as measures
from moovitamix.observe.drift_windows import Integers, Values
from moovitamix.recommend.als import AlsModel, bound_regularization, fit_als
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.matrix import MatrixParameters, end_of, rows_of
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.metrics import ndcg
from moovitamix.recommend.split import Split, discoveries
from moovitamix.recommend.top_n import rank

K = EvaluationRules().k

# So often the configuration is fitted to less; a fit costs what that of the champion does.
FITS = 3

_PAIR = ["user_id", "track_id"]
# Of more users that listened on a day, so many are drawn.
_MOST_USERS = 2_000
# Scores in memory at once.
_SCORES_AT_ONCE = 20_000_000


@dataclass(frozen=True, eq=False, slots=True)
class JudgedDay:
    """What a model makes of a day.

    Attributes:
        ranks: CSR float64 [listeners, len(LOG_RANKS)]: distinct tracks by the share of the
            catalogue that scores as high, of each user who had listened before.
        ndcg: float64 [judged]: NDCG@10 of each of them who discovered something.
    """

    ranks: csr_matrix
    ndcg: Values

    @property
    def listeners(self) -> int:
        """How many users have ranks."""
        return int(self.ranks.shape[0])

    def rank_shares(self, weights: Values | None = None) -> Values:
        """The distribution of ranks, [len(LOG_RANKS), resamples].

        Args:
            weights: [listeners, resamples]: how often each counts; None: once.
        """
        drawn = np.ones((self.listeners, 1)) if weights is None else weights
        return measures.normalised(np.asarray(self.ranks.T @ drawn))


def judge_day(model: AlsModel, interactions: pl.DataFrame, day: date) -> JudgedDay:
    """Let a model predict a day, with factors folded in from all plays before it, as is served.

    Relevant is what a user had not heard, and somebody had; also a track that the model does not
    know, for not to know it is a fault of its age.

    Args:
        model: Fitted to no play of this day.
        interactions: user_id, track_id, listened_at; later plays are left out.
        day: Which.

    Raises:
        NothingToDo: When there is no play before the day.
    """
    midnight = datetime.combine(day, time())
    known = interactions.filter(pl.col("listened_at") < end_of(day))
    past = known.filter(pl.col("listened_at") < midnight)
    future = known.filter(pl.col("listened_at") >= midnight)
    before = day - timedelta(days=1)
    matrix = build_matrix(past, model.matrix_parameters, before)
    pairs = future.select(_PAIR).unique().sort(_PAIR)
    relevant = discoveries(Split("temporal", past, future, before, midnight))
    users = np.intersect1d(pairs["user_id"].unique().to_numpy(), matrix.users)
    if len(users) > _MOST_USERS:
        chance = np.random.default_rng(day.toordinal())
        users = np.sort(chance.choice(users, _MOST_USERS, replace=False))
    values = rows_of(matrix, users, model.tracks)
    own = past.filter(pl.col("user_id").is_in(users))
    if not len(users):
        return JudgedDay(csr_matrix((0, len(measures.LOG_RANKS))), np.zeros(0))
    heard = rows_of(build_matrix(own, MatrixParameters(), before), users, model.tracks)
    ranks, found = [], []
    at_once = max(16, _SCORES_AT_ONCE // max(1, len(model.tracks)))
    for start in range(0, len(users), at_once):
        rows = slice(start, start + at_once)
        factors = model.solve_users(values[rows])
        ranks.append(_ranks(model, pairs, users[rows], factors))
        ranked = rank(
            users[rows], factors, model.item_factors, model.tracks, K, leave_out=heard[rows]
        )
        listed = np.arange(ranked.tracks.shape[1]) < ranked.lengths[:, None]
        found.append(_ndcg(relevant, users[rows], ranked.tracks, listed))
    return JudgedDay(_stacked(ranks), np.concatenate(found))


def _ranks(
    model: AlsModel, pairs: pl.DataFrame, users: Integers, factors: NDArray[np.float32]
) -> csr_matrix:
    """Of each user, the tracks of the day by their rank in the whole catalogue.

    Not by the score itself: that grows with what is known of a user, so that it would drift by
    itself in a warehouse that is young.
    """
    some = pairs.filter(pl.col("user_id").is_in(users), pl.col("track_id").is_in(model.tracks))
    rows = np.searchsorted(users, some["user_id"].to_numpy())
    columns = np.searchsorted(model.tracks, some["track_id"].to_numpy())
    with threadpool_limits(1, "blas"):
        scores = factors @ model.item_factors.T
    played = scores[rows, columns]
    scores.sort(axis=1)
    as_high = np.array(
        [
            scores.shape[1] - np.searchsorted(scores[row], score)
            for row, score in zip(rows, played, strict=True)
        ],
        dtype=np.float64,
    )
    bins = measures.rank_bins(np.maximum(as_high, 1) / scores.shape[1])
    return csr_matrix(
        (np.ones(len(rows)), (rows, bins)), shape=(len(users), len(measures.LOG_RANKS))
    )


def _stacked(blocks: list[csr_matrix]) -> csr_matrix:
    return vstack(blocks, format="csr")


def _ndcg(
    relevant: pl.DataFrame, users: Integers, tracks: Integers, listed: NDArray[np.bool_]
) -> Values:
    """NDCG of the users who have something relevant; ids of lists and of what is relevant."""
    some = relevant.filter(pl.col("user_id").is_in(users))
    rows = np.searchsorted(users, some["user_id"].to_numpy())
    counts = np.bincount(rows, minlength=len(users))
    every, place = np.unique(
        np.concatenate([some["track_id"].to_numpy(), tracks.ravel()]), return_inverse=True
    )
    wanted = rows * len(every) + place[: len(rows)]
    shown = np.arange(len(users))[:, None] * len(every) + place[len(rows) :].reshape(tracks.shape)
    hits = np.isin(shown, wanted) & listed
    judged = counts > 0
    return ndcg(hits[judged], counts[judged])


def days_with_hindsight(
    model: AlsModel, interactions: pl.DataFrame, *, days: int, gap: int
) -> Iterator[JudgedDay]:
    """Days of the champion's data, each judged by its configuration fitted to what was before.

    The regularization is bounded anew, for the past is thinner. A fit needs two windows of plays.

    Args:
        model: The champion's, whose configuration it is.
        interactions: As `judge_day` takes them.
        days: Length of a window, each day of which is judged.
        gap: So many windows lie between a fit and the days that it judges.
    """
    known = interactions.filter(pl.col("listened_at") < end_of(model.as_of))
    if known.is_empty():
        return
    began = known["listened_at"].dt.date().min()
    for back in range(1, FITS + 1):
        fitted = model.as_of - timedelta(days=(back + gap) * days)
        if not isinstance(began, date) or (fitted - began).days + 1 < 2 * days:
            return
        past = known.filter(pl.col("listened_at") < end_of(fitted))
        try:
            matrix = build_matrix(past, model.matrix_parameters, fitted)
        except NothingToDo:
            return
        earlier = fit_als(matrix, bound_regularization(model.parameters, matrix))
        first = fitted + timedelta(days=gap * days + 1)
        for nth in range(days):
            yield judge_day(earlier, known, first + timedelta(days=nth))
