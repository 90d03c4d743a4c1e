"""The window a configuration is tuned on: how it is cut, and NDCG on it.

It lies before the gate's test window, which is never looked at here: what is tuned on a window
does too well on it to be judged by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend import archive, metrics
from moovitamix.recommend.als import AlsModel, bound_regularization, fit_als
from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix, select_users
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.split import discoveries, split_plays
from moovitamix.recommend.top_n import score_users

# Fewer users, or fewer tracks a user, leave the order of configurations to chance. The reference
# source (five listens a user) is below the second, 60 days of the demonstration's are at 23.
MINIMUM_JUDGED = 100
MINIMUM_TRACKS = 10.0

# More users cost time, and settle nothing: with 3,000, the standard error of NDCG is below 0.005.
JUDGED_AT_MOST = 3_000

# Takes the number of iterations, and NDCG by judged user after them.
OnCheckpoint = Callable[[int, NDArray[np.float64]], None]
AfterIteration = Callable[[], None]


@dataclass(frozen=True, eq=False, slots=True)
class Validation:
    """Plays to learn from, and the discoveries that followed.

    Attributes:
        past: Plays, skips and hides; see `matrix.WITH_FEEDBACK`.
        as_of: The last day of the past.
        relevant: user_id, track_id: what judged users discovered next.
        users: int64, ascending: who is judged by.
        tracks_a_user: How many different tracks a user of the past has heard, on average.
        fingerprint: Of all that.
        k: Length of a list.
    """

    past: pl.DataFrame
    as_of: date
    relevant: pl.DataFrame
    users: NDArray[np.int64]
    tracks_a_user: float
    fingerprint: str
    k: int

    @property
    def too_little(self) -> str | None:
        """Why nothing can be tuned on it, or None."""
        if len(self.users) < MINIMUM_JUDGED:
            return f"{len(self.users)} users to tune by, {MINIMUM_JUDGED} are needed"
        if self.tracks_a_user < MINIMUM_TRACKS:
            return (
                f"users have heard {self.tracks_a_user:.1f} tracks on average, "
                f"{MINIMUM_TRACKS:.0f} are needed"
            )
        return None


def cut_validation(interactions: pl.DataFrame, as_of: date, rules: EvaluationRules) -> Validation:
    """Cut the window off the plays that the evaluation will give to a model.

    The past of the evaluation's split is split once more, by the same rules: its last days, or
    where these leave too few users a hold-out by user.

    Args:
        interactions: All plays.
        as_of: The last day of the data.
        rules: Of the evaluation.

    Raises:
        NothingToDo: When no play is left to learn from.
    """
    asked = {"test_days": rules.test_days, "minimum_users": rules.minimum_users}
    seen = split_plays(interactions, as_of, **asked)
    split = split_plays(seen.seen, seen.as_of, **asked)
    matrix = build_matrix(split.past, MatrixParameters(), split.as_of)
    relevant = discoveries(split).filter(
        pl.col("user_id").is_in(matrix.users), pl.col("track_id").is_in(matrix.tracks)
    )
    users = relevant["user_id"].unique().sort().to_numpy()
    if len(users) > JUDGED_AT_MOST:
        chance = np.random.default_rng(rules.seed)
        users = np.sort(chance.choice(users, JUDGED_AT_MOST, replace=False))
        relevant = relevant.filter(pl.col("user_id").is_in(users))
    pairs = {name: relevant[name].to_numpy() for name in relevant.columns}
    if not split.feedback.is_empty():
        known = split.feedback.sort(split.feedback.columns).cast(pl.Int64)
        pairs |= {f"feedback {column.name}": column.to_numpy() for column in known}
    return Validation(
        past=split.seen,
        as_of=split.as_of,
        relevant=relevant,
        users=users,
        tracks_a_user=matrix.values.nnz / len(matrix.users),
        fingerprint=archive.digest({"past": matrix.fingerprint, "k": rules.k}, pairs),
        k=rules.k,
    )


def judge(
    validation: Validation,
    configuration: Configuration,
    checkpoints: tuple[int, ...],
    on_checkpoint: OnCheckpoint,
    on_iteration: AfterIteration,
) -> None:
    """Fit a configuration to the past, and tell NDCG by user after some iterations.

    A user of whom a configuration knows nothing has an NDCG of 0. The regularization is bounded
    as in `als.bound_regularization`.

    Args:
        validation: The window.
        configuration: Its number of iterations is passed over.
        checkpoints: Numbers of iterations, ascending; the last one ends the fit.
        on_checkpoint: What it raises ends the fit.
        on_iteration: Called after each iteration; what it raises ends the fit.
    """
    matrix = build_matrix(validation.past, configuration.matrix, validation.as_of)
    known = np.isin(validation.users, matrix.users)
    judged = select_users(matrix, validation.users[known])
    place = _Places(validation, matrix)

    def after(iteration: int, model: AlsModel) -> None:
        if iteration in checkpoints:
            by_user = np.zeros(len(validation.users))
            by_user[known] = place.ndcg(model, judged)[known]
            on_checkpoint(iteration, by_user)
        on_iteration()

    als = bound_regularization(replace(configuration.als, iterations=checkpoints[-1]), matrix)
    fit_als(matrix, als, on_model=after)


class _Places:
    """Where the relevant tracks are among a matrix' users and columns."""

    def __init__(self, validation: Validation, matrix: UserItemMatrix) -> None:
        self._validation = validation
        relevant = validation.relevant
        self._rows = np.searchsorted(validation.users, relevant["user_id"].to_numpy())
        self._counts = np.bincount(self._rows, minlength=len(validation.users))
        self._tracks = matrix.tracks
        tracks = relevant["track_id"].to_numpy()
        column = np.searchsorted(matrix.tracks, tracks)
        there = column < len(matrix.tracks)
        there[there] = matrix.tracks[column[there]] == tracks[there]
        self._wanted = self._rows[there] * len(matrix.tracks) + column[there]

    def ndcg(self, model: AlsModel, judged: UserItemMatrix) -> NDArray[np.float64]:
        k, users = self._validation.k, self._validation.users
        hits = np.zeros((len(users), k), dtype=bool)
        for block in score_users(model, judged, k):
            rows = np.searchsorted(users, block.ids)
            pairs = rows[:, None] * len(self._tracks) + np.searchsorted(self._tracks, block.tracks)
            width = block.tracks.shape[1]
            counts = np.arange(width) < block.lengths[:, None]
            hits[rows, :width] = np.isin(pairs, self._wanted) & counts
        return metrics.ndcg(hits, self._counts)
