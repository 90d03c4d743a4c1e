"""How well a configuration predicts what users discover next, next to popularity.

Division into past and future: `split.py`; formulas: `metrics.py`; consequences: `gate.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend import metrics
from moovitamix.recommend.als import AlsParameters, fit_als
from moovitamix.recommend.matrix import (
    MatrixParameters,
    UserItemMatrix,
    build_matrix,
    select_users,
)
from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.popularity import listeners, score_popular
from moovitamix.recommend.split import SplitName, discoveries, split_plays, unreachable
from moovitamix.recommend.top_n import TopN, score_users

ALS = "als"
POPULARITY = "popularity"
NDCG = "ndcg"

_BY_USER = {
    NDCG: metrics.ndcg,
    "recall": metrics.recall,
    "map": metrics.average_precision,
    "precision": metrics.precision,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRules:
    """What is asked of an evaluation.

    Attributes:
        k: Length of the lists that are judged.
        test_days: So many last days are the test.
        minimum_users: Fewer users in the test cannot tell anything.
        resamples: Of the bootstrap; a thousand settle two digits of an interval.
        seed: Of the bootstrap.
    """

    k: int = 10
    test_days: int = 7
    minimum_users: int = 50
    resamples: int = 1000
    seed: int = 20260901


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of ALS and popularity on the same users, tracks and future.

    Attributes:
        split: How past and future were divided.
        as_of: The last day of the data.
        cut_off: First moment of the future, ISO 8601 in UTC; None without one.
        rules: What was asked for.
        users: How many users were judged by: with a past, and a discovery in the future.
        discoveries: Their relevant pairs of user and track.
        unreachable: Pairs left out because nobody had heard their track before.
        training_users: Users of the past.
        catalogue: Tracks of the past: all of them were ranked.
        training_plays: Plays of the past.
        test_plays: Plays of the future.
        figures: By ranker ("als", "popularity") and measure ("ndcg", "recall", "map", "precision",
            "coverage"), all at k. Empty when no user could be judged by.
        difference: NDCG of ALS less that of popularity, paired by user; None as above.
    """

    split: SplitName
    as_of: date
    cut_off: str | None
    rules: EvaluationRules
    users: int
    discoveries: int
    unreachable: int
    training_users: int
    catalogue: int
    training_plays: int
    test_plays: int
    figures: dict[str, dict[str, Figure]]
    difference: Figure | None

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON-able values, for the registry."""
        return {**asdict(self), "as_of": self.as_of.isoformat()}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Evaluation:
        """What `to_json` gave."""
        figures = {
            ranker: {name: Figure(**figure) for name, figure in measured.items()}
            for ranker, measured in fields["figures"].items()
        }
        difference = fields["difference"]
        return cls(
            **{
                **fields,
                "as_of": date.fromisoformat(fields["as_of"]),
                "rules": EvaluationRules(**fields["rules"]),
                "figures": figures,
                "difference": Figure(**difference) if difference else None,
            }
        )


def evaluate(
    interactions: pl.DataFrame,
    as_of: date,
    matrix_parameters: MatrixParameters,
    parameters: AlsParameters,
    rules: EvaluationRules,
    on_iteration: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Fit a configuration to the past and judge its lists by the discoveries of the future.

    Every user with a past and a discovery is judged by, every track of the past is ranked, those
    the user had heard are left out.

    Args:
        interactions: user_id, track_id, listened_at; see `matrix.INTERACTIONS`.
        as_of: The last day of the data.
        matrix_parameters: Of the configuration.
        parameters: Of the configuration.
        rules: Split, length of the lists, bootstrap.
        on_iteration: As in `fit_als`.

    Raises:
        NothingToDo: When there is no play to learn from.
    """
    split = split_plays(
        interactions, as_of, test_days=rules.test_days, minimum_users=rules.minimum_users
    )
    matrix = build_matrix(split.past, matrix_parameters, split.as_of)
    relevant = discoveries(split).filter(
        pl.col("user_id").is_in(matrix.users), pl.col("track_id").is_in(matrix.tracks)
    )
    figures: dict[str, dict[str, Figure]] = {}
    difference = None
    users = relevant["user_id"].unique().sort().to_numpy()
    if len(users):
        judged = select_users(matrix, users)
        model = fit_als(matrix, parameters, on_iteration)
        lists = {
            ALS: score_users(model, judged, rules.k),
            POPULARITY: score_popular(judged, rules.k, counts=listeners(matrix)),
        }
        figures, difference = _measure(lists, relevant, matrix, users, rules)
    return Evaluation(
        split=split.name,
        as_of=as_of,
        cut_off=split.cut_off.isoformat() if split.cut_off else None,
        rules=rules,
        users=len(users),
        discoveries=relevant.height,
        unreachable=unreachable(split),
        training_users=len(matrix.users),
        catalogue=len(matrix.tracks),
        training_plays=split.past.height,
        test_plays=split.future.height,
        figures=figures,
        difference=difference,
    )


def _measure(
    lists: Mapping[str, Iterable[TopN]],
    relevant: pl.DataFrame,
    matrix: UserItemMatrix,
    users: NDArray[np.int64],
    rules: EvaluationRules,
) -> tuple[dict[str, dict[str, Figure]], Figure]:
    """The figures of each ranker, and the paired difference of their NDCG."""
    width = len(matrix.tracks)
    rows = np.searchsorted(users, relevant["user_id"].to_numpy())
    wanted = rows * width + np.searchsorted(matrix.tracks, relevant["track_id"].to_numpy())
    counts = np.bincount(rows, minlength=len(users))
    columns, by_user = {}, {}
    for ranker, blocks in lists.items():
        columns[ranker] = _in_catalogue(blocks, matrix.tracks, rules.k)
        pairs = np.arange(len(users))[:, None] * width + columns[ranker]
        hits = np.isin(pairs, wanted) & (columns[ranker] >= 0)
        by_user[ranker] = np.column_stack([measure(hits, counts) for measure in _BY_USER.values()])
    first = list(_BY_USER).index(NDCG)
    gain = by_user[ALS][:, first] - by_user[POPULARITY][:, first]
    sampling = {"resamples": rules.resamples, "seed": rules.seed}
    means = metrics.mean_figures(
        np.column_stack([*(by_user[ranker] for ranker in lists), gain]), **sampling
    )
    figures = {}
    for index, ranker in enumerate(lists):
        own = means[index * len(_BY_USER) : (index + 1) * len(_BY_USER)]
        covered = metrics.coverage_figure(columns[ranker], width, **sampling)
        figures[ranker] = {**dict(zip(_BY_USER, own, strict=True)), "coverage": covered}
    return figures, means[-1]


def _in_catalogue(blocks: Iterable[TopN], tracks: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Lists as positions in the catalogue, [users, k]; -1 where a list has ended."""
    found = []
    for block in blocks:
        columns = np.searchsorted(tracks, block.tracks)
        ended = np.arange(columns.shape[1]) >= block.lengths[:, None]
        filled = np.full((len(columns), k), -1, dtype=np.int64)
        filled[:, : columns.shape[1]] = np.where(ended, -1, columns)
        found.append(filled)
    return np.concatenate(found)
