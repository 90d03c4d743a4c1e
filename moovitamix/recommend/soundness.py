"""What must hold of each result of the stage, as pure functions that name what does not.

`checks.py` turns their answers into Dagster's checks. An empty list: all is well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.evaluation import Evaluation
from moovitamix.recommend.matrix import UserItemMatrix
from moovitamix.recommend.registry import ModelVersion

# A track's factor shorter than this is as good as none; more than half of them: collapsed.
SHORTEST_FACTOR = 1e-6

# Of the variance of all track factors, the least share outside their main direction. Below it,
# everybody gets the same list.
LEAST_VARIETY = 1e-4

# Of the last matrix: people and tracks go one by one, and half of them at once is an accident.
LEAST_OF_LAST = 0.5
# Between two matrices days apart; but the first days of a new warehouse change it as much.
MOST_DENSITY = 3.0
TELLING_PAIRS = 1_000


def feature_faults(features: pl.DataFrame, users: int) -> list[str]:
    """What is wrong with features of users, of which the warehouse holds so many."""
    faults = []
    if features.height != users:
        faults.append(f"{features.height} rows for {users} users")
    if features["user_id"].n_unique() != features.height:
        faults.append("users with more than one row")
    always = features.drop("last_listen", "days_since_last_listen")
    faults += [f"{column.name} has nulls" for column in always if column.null_count()]
    silent = features["plays"] == 0
    for name in ("last_listen", "days_since_last_listen"):
        if (features[name].is_null() != silent).any():
            faults.append(f"{name} is missing for listeners, or there for who never listened")
    return faults


def matrix_faults(matrix: UserItemMatrix) -> list[str]:
    """What is wrong with a user-item matrix."""
    faults = _id_faults("users", matrix.users) + _id_faults("tracks", matrix.tracks)
    values = matrix.values
    if values.shape != (len(matrix.users), len(matrix.tracks)):
        return [*faults, f"shape {values.shape} for {len(matrix.users)} x {len(matrix.tracks)} ids"]
    if not values.nnz:
        return [*faults, "no plays"]
    if not np.isfinite(values.data).all():
        faults.append("values that are not finite")
    elif not (values.data > 0).all():
        faults.append("values that are not above 0")
    if (np.diff(values.indptr) == 0).any():
        faults.append("users without plays")
    if (np.bincount(values.indices, minlength=len(matrix.tracks)) == 0).any():
        faults.append("tracks without plays")
    return faults


def size_faults(size: Mapping[str, int], former: Mapping[str, int]) -> list[str]:
    """How a matrix has changed too much since the last one of other content.

    Args:
        size: Users, tracks and pairs of it.
        former: The same of the last one; empty for the first.
    """
    if not former:
        return []
    faults = [
        f"{size[name]:,} {name}, {former[name]:,} in the last matrix"
        for name in former
        if size[name] < LEAST_OF_LAST * former[name]
    ]
    change = _density(size) / _density(former)
    if former["pairs"] >= TELLING_PAIRS and not 1 / MOST_DENSITY <= change <= MOST_DENSITY:
        faults.append(f"{change:.2f} times as dense as the last matrix")
    return faults


def _density(size: Mapping[str, int]) -> float:
    return size["pairs"] / (size["users"] * size["tracks"])


def model_faults(model: AlsModel) -> list[str]:
    """What is wrong with a fitted model."""
    faults = _id_faults("users", model.users) + _id_faults("tracks", model.tracks)
    sides = (
        ("user", model.user_factors, len(model.users)),
        ("track", model.item_factors, len(model.tracks)),
    )
    for side, factors, count in sides:
        if factors.shape != (count, model.parameters.factors):
            faults.append(f"{side} factors of shape {factors.shape} for {count} ids")
        elif not np.isfinite(factors).all():
            faults.append(f"{side} factors that are not finite")
    return faults or _collapse(model.item_factors)


def _collapse(factors: NDArray[np.float32]) -> list[str]:
    lengths = np.linalg.norm(factors, axis=1)
    if np.count_nonzero(lengths > SHORTEST_FACTOR) * 2 < len(lengths):
        return ["more than half of the tracks have no factor to speak of: collapsed"]
    spread = np.linalg.svd(factors.astype(np.float64), compute_uv=False) ** 2
    if min(factors.shape) > 2 and spread[1:].sum() < LEAST_VARIETY * spread.sum():
        return ["all tracks point the same way: everybody would get the same list"]
    return []


def evaluation_faults(evaluation: Evaluation) -> list[str]:
    """Why an evaluation cannot tell anything."""
    least = evaluation.rules.minimum_users
    if evaluation.users < least:
        return [f"{evaluation.users} users to judge by, {least} are needed"]
    return []


def champion_faults(versions: Sequence[ModelVersion], model: AlsModel | None) -> list[str]:
    """What is wrong with the registry's champion, and the model that its artifact holds."""
    champions = [version for version in versions if version.status == "champion"]
    if len(champions) != 1:
        return [f"{len(champions)} champions in the registry, there must be one"]
    if model is None:
        return [f"version {champions[0].version} has no artifact"]
    faults = model_faults(model)
    if model.matrix_fingerprint != champions[0].matrix_fingerprint:
        faults.append(f"the artifact of version {champions[0].version} was fitted to other data")
    return faults


def _id_faults(what: str, ids: NDArray[np.int64]) -> list[str]:
    if ids.dtype != np.int64 or not (np.diff(ids) > 0).all():
        return [f"ids of {what} that are not ascending and distinct"]
    return []
