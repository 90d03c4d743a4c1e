"""How well a configuration predicts what users hear next, beside the champion and baselines.

Division into past and future: `split.py`; lists: `rankers.py`; figures: `comparison.py`, kept as an
`evaluation.py`; consequences: `gate.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moovitamix.recommend import contest, rankers
from moovitamix.recommend.als import AlsParameters
from moovitamix.recommend.blend import ALS_ALONE, BlendParameters
from moovitamix.recommend.comparison import Comparison, Truth, compare
from moovitamix.recommend.contest import Rival
from moovitamix.recommend.evaluation import Evaluation, EvaluationRules
from moovitamix.recommend.matrix import (
    MatrixParameters,
    UserItemMatrix,
    end_of,
    select_users,
)
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.new_releases import NO_RELEASES, ReleaseParameters
from moovitamix.recommend.popularity import listeners
from moovitamix.recommend.prediction_error import rmse
from moovitamix.recommend.rankers import TASKS, Audience, Lists, Task
from moovitamix.recommend.release_evaluation import ReleaseFigures, judge_releases
from moovitamix.recommend.split import Split, discoveries, split_plays, unreachable

_PAIR = ["user_id", "track_id"]


def evaluate(
    interactions: pl.DataFrame,
    as_of: date,
    matrix_parameters: MatrixParameters,
    parameters: AlsParameters,
    rules: EvaluationRules,
    on_iteration: Callable[[int, int], None] | None = None,
    *,
    blend: BlendParameters = ALS_ALONE,
    champion: Rival | None = None,
    tracks: pl.DataFrame | None = None,
    releases: ReleaseParameters = NO_RELEASES,
) -> Evaluation:
    """Fit a configuration to the past and judge its lists by what users heard in the future.

    Every user with a past and a relevant track is judged by, every track of the past is ranked.

    Args:
        interactions: user_id, track_id, listened_at; see `matrix.INTERACTIONS`.
        as_of: The last day of the data.
        matrix_parameters: Of the configuration.
        parameters: Of the configuration.
        rules: Split, length of the lists, baselines, bootstrap.
        on_iteration: As in `fit_als`.
        blend: Of the configuration.
        champion: Who serves; judged as "champion" where its configuration is another, as
            "production" where its data ended before the future began.
        tracks: Features of all tracks on the last day, see `track_features.py`; None: places for
            new releases are not judged.
        releases: Of the configuration.

    Raises:
        NothingToDo: When there is no play to learn from.
    """
    split = split_plays(
        interactions, as_of, test_days=rules.test_days, minimum_users=rules.minimum_users
    )
    past = build_matrix(split.past, MatrixParameters(), split.as_of)
    relevant = {task: _relevant(split, past, task) for task in TASKS}
    comparisons = {task: Comparison() for task in TASKS}
    errors: dict[str, Figure] = {}
    of_releases: ReleaseFigures | None = None
    asked = [task for task in TASKS if relevant[task].height]
    if asked:
        judged = pl.concat([relevant[task]["user_id"] for task in asked]).unique().sort().to_numpy()
        audience = Audience(past, select_users(past, judged), asked, rules.longer_k)
        models = contest.models(split, matrix_parameters, parameters, blend, champion, on_iteration)
        lists = {
            **{name: rankers.by_model(audience, model) for name, model in models.items()},
            **contest.baselines(audience, split, rules),
        }
        comparisons |= {
            task: _compare(task, audience, lists, relevant[task], split, rules) for task in asked
        }
        errors = _errors(audience, models, relevant["discovery"], rules)
        if tracks is not None:
            own = models[rankers.CANDIDATE]
            sampling = {"resamples": rules.resamples, "seed": rules.seed}
            of_releases = judge_releases(
                split, own.model, own.plays, tracks, as_of, releases, **sampling
            )
    return Evaluation(
        split=split.name,
        as_of=as_of,
        cut_off=split.cut_off.isoformat() if split.cut_off else None,
        rules=rules,
        users=relevant["discovery"]["user_id"].n_unique(),
        discoveries=relevant["discovery"].height,
        replay_users=relevant["replay"]["user_id"].n_unique(),
        replays=relevant["replay"].height,
        unreachable=unreachable(split),
        training_users=len(past.users),
        catalogue=len(past.tracks),
        training_plays=split.past.height,
        test_plays=split.future.height,
        cold_users=_share_of_strangers(split.future["user_id"], past.users),
        cold_tracks=_share_of_strangers(split.future["track_id"], past.tracks),
        fresh_days=_fresh_days(split, as_of, rules, champion),
        figures={task: found.figures for task, found in comparisons.items()},
        differences={task: found.differences for task, found in comparisons.items()},
        segments={task: found.segments for task, found in comparisons.items()},
        rmse=errors,
        releases=of_releases,
    )


def _relevant(split: Split, past: UserItemMatrix, task: Task) -> pl.DataFrame:
    """user_id, track_id and plays of what the lists of a task should hold, in ascending order."""
    plays = split.future.group_by(_PAIR).agg(plays=pl.len())
    if task == "discovery":
        return plays.join(discoveries(split), on=_PAIR, how="semi").sort(_PAIR)
    if split.cut_off is None:
        return plays.clear()
    known = pl.col("user_id").is_in(past.users), pl.col("track_id").is_in(past.tracks)
    return plays.filter(*known).sort(_PAIR)


def _compare(
    task: Task,
    audience: Audience,
    lists: dict[str, Lists],
    relevant: pl.DataFrame,
    split: Split,
    rules: EvaluationRules,
) -> Comparison:
    past = audience.past
    users, rows, columns = _places(relevant, past)
    plays = split.past.group_by("user_id").len().filter(pl.col("user_id").is_in(users))
    heard_much = plays.filter(pl.col("len") > pl.col("len").median())["user_id"]
    recent = end_of(split.as_of) - timedelta(days=rules.new_track_days)
    known = split.past.filter(pl.col("listened_at") < recent)["track_id"].unique()
    place = np.searchsorted(audience.heard.users, users)
    return compare(
        Truth(
            users=len(users),
            rows=rows,
            columns=columns,
            listeners=listeners(past).astype(np.int64),
            past_users=len(past.users),
            heavy=np.isin(users, heard_much.to_numpy()),
            new_tracks=~np.isin(past.tracks, known.to_numpy()),
        ),
        {name: found[task][place] for name, found in lists.items() if task in found},
        lengths=(rules.k, rules.longer_k),
        resamples=rules.resamples,
        seed=rules.seed,
    )


def _places(
    relevant: pl.DataFrame, past: UserItemMatrix
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The users of relevant pairs, and of each pair the user's and the track's position."""
    users, rows = np.unique(relevant["user_id"].to_numpy(), return_inverse=True)
    return users, rows, np.searchsorted(past.tracks, relevant["track_id"].to_numpy())


def _errors(
    audience: Audience,
    models: dict[str, rankers.Contender],
    relevant: pl.DataFrame,
    rules: EvaluationRules,
) -> dict[str, Figure]:
    if relevant.is_empty():
        return {}
    return rmse(
        audience,
        models,
        np.searchsorted(audience.heard.users, relevant["user_id"].to_numpy()),
        np.searchsorted(audience.past.tracks, relevant["track_id"].to_numpy()),
        relevant["plays"].to_numpy(),
        resamples=rules.resamples,
        seed=rules.seed,
    )


def _share_of_strangers(future: pl.Series, past: NDArray[np.int64]) -> float:
    distinct = future.unique().to_numpy()
    return float(np.mean(~np.isin(distinct, past))) if len(distinct) else 0.0


def _fresh_days(split: Split, as_of: date, rules: EvaluationRules, champion: Rival | None) -> int:
    if split.cut_off is None:
        return 0
    if champion is None:
        return rules.test_days
    return min(max((as_of - champion.model.as_of).days, 0), rules.test_days)
