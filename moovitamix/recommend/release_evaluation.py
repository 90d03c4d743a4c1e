"""What a version's places for new releases would have found in the days it is judged by.

Shown beside the evaluation, and asked by nobody: the gate judges lists without these places. How
they are filled is told in `new_releases.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend import metrics
from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.matrix import UserItemMatrix, select_users
from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.new_releases import NewReleases, ReleaseParameters
from moovitamix.recommend.split import Split
from moovitamix.recommend.top_n import TopN, score_users

# As long as the lists that are served.
LIST_LENGTH = 100

_PAIR = ["user_id", "track_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFigures:
    """What became of new releases in the future of a split.

    Attributes:
        unheard: Of them had been heard by nobody.
        few: Of them had been heard by few.
        pairs: Users with a past, and releases that they heard for the first time in the future.
        users: How many users these are.
        recall: Recall at the length of served lists, by "with places" and "without".
    """

    unheard: int = 0
    few: int = 0
    pairs: int = 0
    users: int = 0
    recall: dict[str, Figure] = field(default_factory=dict)

    @classmethod
    def from_json(cls, stored: dict[str, Any] | None) -> ReleaseFigures | None:
        """What `asdict` gave; None where nothing was stored."""
        if stored is None:
            return None
        recall = {name: Figure(**figure) for name, figure in stored["recall"].items()}
        return cls(**{**stored, "recall": recall})

    def sentence(self) -> str:
        """All of it in a sentence."""
        told = (
            f"New releases: {self.unheard} that nobody had heard and {self.few} that few had; "
            f"{self.pairs} pairs of {self.users} users who went on to hear them"
        )
        parts = [f"{name} {figure}" for name, figure in self.recall.items()]
        return f"{told}, recall@{LIST_LENGTH}: {'; '.join(parts)}." if parts else f"{told}."


def judge_releases(
    split: Split,
    model: AlsModel,
    plays: UserItemMatrix,
    features: pl.DataFrame,
    as_of: date,
    parameters: ReleaseParameters,
    *,
    resamples: int,
    seed: int,
) -> ReleaseFigures | None:
    """Lists with and without the places, judged by the releases that users went on to hear.

    Args:
        split: Temporal; a per-user hold-out has no day on which a track could be new.
        model: Fitted to the past.
        plays: The past's, made as the model needs them.
        features: Of all tracks, as of a later day; see `track_features.py`.
        as_of: That day.
        parameters: Of the share.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        None without places, or without a day to cut at.
    """
    if not parameters.every or split.cut_off is None:
        return None
    known = _at_cut_off(features, as_of, split)
    releases = NewReleases.find(model, known, parameters)
    unheard = int(np.count_nonzero(releases.unheard))
    found = split.future.filter(
        pl.col("track_id").is_in(releases.tracks), pl.col("user_id").is_in(plays.users)
    )
    found = found.select(_PAIR).unique().join(split.past, on=_PAIR, how="anti")
    nothing = ReleaseFigures(unheard=unheard, few=len(releases.tracks) - unheard)
    if found.is_empty():
        return nothing
    users, rows = np.unique(found["user_id"].to_numpy(), return_inverse=True)
    judged = select_users(plays, users)
    relevant = np.bincount(rows)
    columns = np.searchsorted(releases.tracks, found["track_id"].to_numpy())
    wanted = rows * len(releases.tracks) + columns
    values = [
        metrics.recall(
            _hits(score_users(model, judged, LIST_LENGTH, releases=those), releases.tracks, wanted),
            relevant,
        )
        for those in (releases, None)
    ]
    measured = metrics.mean_figures(np.column_stack(values), resamples=resamples, seed=seed)
    return replace(
        nothing,
        pairs=found.height,
        users=len(users),
        recall=dict(zip(("with places", "without"), measured, strict=True)),
    )


def _at_cut_off(features: pl.DataFrame, as_of: date, split: Split) -> pl.DataFrame:
    """The features as they were at the end of the past, of the tracks that were out by then."""
    listeners = split.past.group_by("track_id").agg(pl.col("user_id").n_unique().alias("listeners"))
    known = features.drop("listeners").join(listeners, on="track_id", how="left")
    return known.with_columns(
        pl.col("age_days") - (as_of - split.as_of).days, pl.col("listeners").fill_null(0)
    ).filter(pl.col("age_days") >= 0)


def _hits(
    blocks: Iterable[TopN], tracks: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """[users, length]: where lists hold a wanted pair, told by row · len(tracks) + column."""
    found, users = [], 0
    for block in blocks:
        columns = np.minimum(np.searchsorted(tracks, block.tracks), len(tracks) - 1)
        rows = np.arange(users, users + len(block.ids))[:, None]
        hits = np.isin(rows * len(tracks) + columns, wanted) & (tracks[columns] == block.tracks)
        found.append(hits & (np.arange(hits.shape[1]) < block.lengths[:, None]))
        users += len(block.ids)
    return np.concatenate(found)
