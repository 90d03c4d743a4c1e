"""Evaluations for the gate: made up, and of real small models judged on the same users."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl

from moovitamix.recommend import metrics
from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.criteria import CANDIDATE, DISCOVERY, POPULARITY
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.matrix import MatrixParameters, select_users
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.popularity import listeners, score_popular
from moovitamix.recommend.registry import ModelVersion, Status
from moovitamix.recommend.split import Split, discoveries
from moovitamix.recommend.top_n import TopN, score_users

K = 10


@dataclass(frozen=True)
class Evidence:
    """What the gate reads of an evaluation."""

    users: int = 400
    rules: EvaluationRules = field(default_factory=EvaluationRules)
    split: str = "temporal"
    fresh_days: int = 7
    figures: dict[str, dict[str, dict[str, Figure]]] = field(default_factory=dict)
    differences: dict[str, dict[str, Figure]] = field(default_factory=dict)


def evidence(
    gains: dict[str, tuple[float, float]],
    *,
    ndcg: float = 0.2,
    coverage: float = 0.3,
    others_coverage: float = 0.3,
    replay: dict[str, tuple[float, float]] | None = None,
    users: int = 400,
    fresh_days: int = 7,
) -> Evidence:
    """An evaluation with such intervals of the candidate's NDCG less that of each ranker."""
    differences = {ranker: _middle(*gain) for ranker, gain in gains.items()}
    figures = {CANDIDATE: {"ndcg": _exact(ndcg), "coverage": _exact(coverage)}}
    for ranker, gain in differences.items():
        other = {"ndcg": _exact(ndcg - gain.value), "coverage": _exact(others_coverage)}
        figures[ranker] = other
    return Evidence(
        users=users,
        fresh_days=fresh_days,
        figures={DISCOVERY: figures},
        differences={
            DISCOVERY: differences,
            "replay": {ranker: _middle(*gain) for ranker, gain in (replay or {}).items()},
        },
    )


def _middle(low: float, high: float) -> Figure:
    return Figure((low + high) / 2, low, high)


def _exact(value: float) -> Figure:
    return Figure(value, value, value)


def judge_models(split: Split, models: dict[str, AlsModel], *, fresh_days: int = 7) -> Evidence:
    """Judge real models, and popularity, by the discoveries of one future: paired, by user."""
    matrix = build_matrix(split.past, MatrixParameters(), split.as_of)
    relevant = discoveries(split).filter(
        pl.col("user_id").is_in(matrix.users), pl.col("track_id").is_in(matrix.tracks)
    )
    users = relevant["user_id"].unique().sort().to_numpy()
    rows = np.searchsorted(users, relevant["user_id"].to_numpy())
    counts = np.bincount(rows, minlength=len(users))
    wanted = np.zeros((len(users), len(matrix.tracks)), dtype=bool)
    wanted[rows, np.searchsorted(matrix.tracks, relevant["track_id"].to_numpy())] = True
    judged = select_users(matrix, users)
    lists = {ranker: list(score_users(model, judged, K)) for ranker, model in models.items()}
    lists[POPULARITY] = list(score_popular(judged, K, counts=listeners(matrix)))
    columns = {ranker: _columns(blocks, matrix.tracks) for ranker, blocks in lists.items()}
    ndcg = {
        ranker: metrics.ndcg(np.take_along_axis(wanted, found, axis=1), counts)
        for ranker, found in columns.items()
    }
    pairs = {ranker: ndcg[CANDIDATE] - found for ranker, found in ndcg.items()}
    means = metrics.mean_figures(
        np.column_stack([*ndcg.values(), *pairs.values()]), resamples=400, seed=1
    )
    figures = {
        ranker: {
            "ndcg": mean,
            "coverage": _exact(metrics.coverage(columns[ranker], len(matrix.tracks))),
        }
        for ranker, mean in zip(ndcg, means, strict=False)
    }
    differences = dict(zip(pairs, means[len(ndcg) :], strict=True))
    differences.pop(CANDIDATE)
    return Evidence(
        users=len(users),
        split=split.name,
        fresh_days=fresh_days,
        figures={DISCOVERY: figures},
        differences={DISCOVERY: differences},
    )


def _columns(blocks: list[TopN], tracks: np.ndarray) -> np.ndarray:
    return np.concatenate([np.searchsorted(tracks, block.tracks) for block in blocks])


def model_version(
    version: int,
    *,
    status: Status = "candidate",
    data: str = "newer",
    judged_against: int | None = 1,
    created_at: datetime = datetime(2026, 11, 22, tzinfo=UTC),
    **als: Any,
) -> ModelVersion:
    """A row of the registry, of a configuration of ALS and some data."""
    return ModelVersion(
        version=version,
        status=status,
        provisional=False,
        algorithm="als",
        as_of=date(2026, 11, 22),
        pull="p",
        matrix_fingerprint=data,
        parameters={"als": als},
        metrics={},
        judged_against=judged_against,
        verdict=None,
        reason=None,
        criteria=[],
        artifact=f"recommend/models/run={version}",
        code_version="0",
        run_id=f"r{version}",
        created_at=created_at,
        promoted_at=None,
        retired_at=None,
        artifact_removed_at=None,
    )
