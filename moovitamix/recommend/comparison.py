"""Figures of rankers' lists on the same users and the same future, and how far they differ.

The lists come from `rankers.py`, the formulas from `metrics.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from moovitamix.recommend import metrics
from moovitamix.recommend.metrics import Figure, Values
from moovitamix.recommend.rankers import CANDIDATE

NDCG = "ndcg"
COVERAGE = "coverage"
NOVELTY = "novelty"

_BY_USER = {
    NDCG: metrics.ndcg,
    "recall": metrics.recall,
    "map": metrics.average_precision,
    "precision": metrics.precision,
}

# The measures, in the order in which they are told.
MEASURES = (*_BY_USER, COVERAGE, NOVELTY)


def at(measure: str, k: int, first: int) -> str:
    """The name of a measure at k: bare for the first k, "ndcg@20" for others."""
    return measure if k == first else f"{measure}@{k}"


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Truth:
    """What some users heard in the future, and what there was to choose from.

    Attributes:
        users: How many users there are, each with a relevant track at least.
        rows: Of each relevant pair: which user.
        columns: Of each relevant pair: which track, as position in the catalogue.
        listeners: [catalogue]: how many users of the past heard each track.
        past_users: How many users there are in the past.
        heavy: [users]: who listened more than the median of them.
        new_tracks: [catalogue]: which tracks nobody had heard until shortly before the cut-off.
    """

    users: int
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    listeners: NDArray[np.int64]
    past_users: int
    heavy: NDArray[np.bool_]
    new_tracks: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it, by ranker.

    Attributes:
        figures: By ranker and measure; measures at the first k have bare names.
        differences: NDCG at the first k of the candidate less that of each other ranker.
        segments: NDCG at the first k by segment and ranker; segments without users are left out.
    """

    figures: dict[str, dict[str, Figure]] = field(default_factory=dict)
    differences: dict[str, Figure] = field(default_factory=dict)
    segments: dict[str, dict[str, Figure]] = field(default_factory=dict)


def compare(
    truth: Truth,
    lists: Mapping[str, NDArray[np.int64]],
    *,
    lengths: tuple[int, ...],
    resamples: int,
    seed: int,
) -> Comparison:
    """Measure lists and their differences; one resampling of users serves all figures.

    Args:
        truth: What the lists should hold; at least one user.
        lists: By ranker: [users, longest length] positions in the catalogue, -1 past an end.
        lengths: So long lists are judged, the deciding length first.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """
    sampling = {"resamples": resamples, "seed": seed}
    width, first = len(truth.listeners), lengths[0]
    wanted = truth.rows * width + truth.columns
    counts = np.bincount(truth.rows, minlength=truth.users)
    segments = _segments(truth)
    values: dict[tuple[str, ...], Values] = {}
    weights: dict[tuple[str, ...], Values] = {}
    for ranker, columns in lists.items():
        pairs = np.arange(truth.users)[:, None] * width + columns
        hits = np.isin(pairs, wanted) & (columns >= 0)
        for k in lengths:
            for name, measure in _BY_USER.items():
                values["figures", ranker, at(name, k, first)] = measure(hits[:, :k], counts)
            values["figures", ranker, at(NOVELTY, k, first)] = metrics.novelty(
                columns[:, :k], truth.listeners, truth.past_users
            )
        for segment, (among, relevant) in segments.items():
            hit = hits[:, :first] & among[np.maximum(columns[:, :first], 0)]
            values["segments", segment, ranker] = metrics.ndcg(hit, np.maximum(relevant, 1))
            weights["segments", segment, ranker] = (relevant > 0).astype(np.float64)
    for ranker in lists:
        if ranker != CANDIDATE:
            gain = values["figures", CANDIDATE, NDCG] - values["figures", ranker, NDCG]
            values["differences", ranker] = gain
    everyone = np.ones(truth.users)
    found = metrics.mean_figures(
        np.column_stack(list(values.values())),
        weights=np.column_stack([weights.get(key, everyone) for key in values]),
        **sampling,
    )
    result = Comparison({ranker: {} for ranker in lists}, {}, {segment: {} for segment in segments})
    for key, figure in zip(values, found, strict=True):
        if key[0] == "differences":
            result.differences[key[1]] = figure
        else:
            (result.figures if key[0] == "figures" else result.segments)[key[1]][key[2]] = figure
    cut = [(ranker, k) for ranker in lists for k in lengths]
    covered = metrics.coverage_figures(
        [lists[ranker][:, :k] for ranker, k in cut], width, **sampling
    )
    for (ranker, k), figure in zip(cut, covered, strict=True):
        result.figures[ranker][at(COVERAGE, k, first)] = figure
    return result


def _segments(truth: Truth) -> dict[str, tuple[NDArray[np.bool_], NDArray[np.int64]]]:
    """By segment: which tracks count, and how many relevant ones of them each user has.

    A user without any is not in the segment.
    """
    every = np.ones(len(truth.listeners), dtype=bool)
    found = {}
    for segment, among, users in (
        ("light listeners", every, ~truth.heavy),
        ("heavy listeners", every, truth.heavy),
        ("new tracks", truth.new_tracks, True),
        ("old tracks", ~truth.new_tracks, True),
    ):
        counted = among[truth.columns]
        relevant = np.bincount(truth.rows[counted], minlength=truth.users) * users
        if relevant.any():
            found[segment] = (among, relevant)
    return found
