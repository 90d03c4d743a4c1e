"""How much own plays should count for a configuration, by what its users replayed lately."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import product

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend import metrics
from moovitamix.recommend.als import AlsModel, AlsParameters, bound_regularization, fit_als
from moovitamix.recommend.blend import ALS_ALONE, BlendParameters, blended, preferences
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix, rows_of
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.split import Split, split_by_time, split_plays
from moovitamix.recommend.top_n import rank_scores

# What is tried: weights against ALS' 1, and half-lives in days. See docs/model.md.
WEIGHTS = (0.1, 0.3, 1.0, 3.0)
HALF_LIVES = (4.0, 7.0, 14.0)

# Of more users so many are asked: their interval is narrow enough, and time grows with them.
MOST_USERS = 10_000

# Scores in memory at once, at some 12 bytes each: about a quarter of a gigabyte.
_SCORES_AT_ONCE = 20_000_000


def choose_blend(
    interactions: pl.DataFrame,
    as_of: date,
    matrix_parameters: MatrixParameters,
    parameters: AlsParameters,
    rules: EvaluationRules,
    *,
    validation_days: int | None = None,
) -> BlendParameters:
    """The best of a small grid on the days before the test window, which stays unseen.

    The configuration is fitted to what is before these days. The blend with the highest NDCG of
    replay is taken when the paired interval of its gain is above 0; else, and where too few
    users can be judged by, ALS ranks alone.

    Args:
        interactions: user_id, track_id, listened_at; see `matrix.INTERACTIONS`.
        as_of: The last day of the data.
        matrix_parameters: Of the configuration.
        parameters: Of the configuration.
        rules: Of the evaluation that is to follow.
        validation_days: So many days before the test are asked; None: as many as the test has.
    """
    test = split_plays(
        interactions, as_of, test_days=rules.test_days, minimum_users=rules.minimum_users
    )
    if test.cut_off is None:
        return ALS_ALONE
    split = split_by_time(test.seen, test.as_of, validation_days or rules.test_days)
    relevant = split.future.select("user_id", "track_id").unique()
    relevant = relevant.join(split.past, on="user_id", how="semi")
    relevant = relevant.join(split.past, on="track_id", how="semi")
    users = relevant["user_id"].unique().sort()
    if len(users) < rules.minimum_users:
        return ALS_ALONE
    if len(users) > MOST_USERS:
        asked = users.sample(MOST_USERS, seed=rules.seed)
        relevant = relevant.filter(pl.col("user_id").is_in(asked.implode()))
    tried = [ALS_ALONE] + [
        BlendParameters(own_plays=weight, half_life_days=days)
        for days, weight in product(HALF_LIVES, WEIGHTS)
    ]
    plays = build_matrix(split.seen, matrix_parameters, split.as_of)
    model = fit_als(plays, bound_regularization(parameters, plays))
    found = _ndcg_of_blends(split, model, plays, relevant, tried, rules.k)
    best = int(found.mean(axis=0).argmax())
    (gain,) = metrics.mean_figures(
        found[:, [best]] - found[:, [0]], resamples=rules.resamples, seed=rules.seed
    )
    return tried[best] if gain.low > 0 else ALS_ALONE


def _ndcg_of_blends(
    split: Split,
    model: AlsModel,
    plays: UserItemMatrix,
    relevant: pl.DataFrame,
    tried: Sequence[BlendParameters],
    k: int,
) -> NDArray[np.float64]:
    """[users, blends]: NDCG of replay, the model's scores computed once for all blends."""
    users, rows = np.unique(relevant["user_id"].to_numpy(), return_inverse=True)
    counts = np.bincount(rows)
    values = rows_of(plays, users, model.tracks)
    own = {
        days: rows_of(
            build_matrix(split.seen, MatrixParameters(half_life_days=days), split.as_of),
            users,
            model.tracks,
        )
        for days in {blend.half_life_days for blend in tried}
    }
    tracks = np.unique(np.concatenate([model.tracks, relevant["track_id"].to_numpy()]))
    wanted = rows * len(tracks) + np.searchsorted(tracks, relevant["track_id"].to_numpy())
    found = np.zeros((len(users), len(tried)))
    at_once = max(16, _SCORES_AT_ONCE // len(model.tracks))
    for start in range(0, len(users), at_once):
        block = slice(start, start + at_once)
        place = np.arange(len(users))[block, None]
        affinity = preferences(model, values[block])
        for number, blend in enumerate(tried):
            scores = blended(affinity, own[blend.half_life_days][block], blend)
            lists = rank_scores(users[block], scores, model.tracks, k)
            hits = np.isin(place * len(tracks) + np.searchsorted(tracks, lists.tracks), wanted)
            hits &= np.arange(hits.shape[1]) < lists.lengths[:, None]
            found[block, number] = metrics.ndcg(hits, counts[block])
    return found
