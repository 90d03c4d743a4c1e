"""Measures of ranked lists by user, and how far chance could have moved their means.

Let K be the length of a list, rel_k whether its k-th track is relevant, R the number of relevant
tracks of the user. All are textbook (Manning, Raghavan & Schütze, "Introduction to Information
Retrieval", ch. 8; Järvelin & Kekäläinen, ACM TOIS 20(4), 2002, for NDCG).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]

# Draws of users in memory at once: 40 megabytes at most.
_DRAWN_AT_ONCE = 5_000_000

# A track in so many lists is missing from a resample once in e^40: not looked for.
_NEVER_MISSED = 40


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with the interval that holds it in 95 of 100 such samples of users."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


def ndcg(hits: Hits, relevant: Counts) -> Values:
    """NDCG@K by user: DCG = Σ rel_k / log2(k + 1), over that of a list with min(K, R) first.

    Args:
        hits: [users, K]: rel_k.
        relevant: [users]: R, at least 1.
    """
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    best = np.concatenate(([0.0], np.cumsum(discounts)))
    ideal: Values = best[np.minimum(relevant, hits.shape[1])]
    return (hits @ discounts) / ideal


def recall(hits: Hits, relevant: Counts) -> Values:
    """Recall@K by user: hits / R."""
    found: Values = hits.sum(axis=1) / relevant
    return found


def precision(hits: Hits, relevant: Counts) -> Values:  # noqa: ARG001 - one shape for all
    """Precision@K by user: hits / K, also where R or the list is shorter."""
    found: Values = hits.sum(axis=1) / hits.shape[1]
    return found


def average_precision(hits: Hits, relevant: Counts) -> Values:
    """AP@K by user: Σ rel_k · precision@k / min(K, R). Its mean is MAP@K."""
    at = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    total: Values = (at * hits).sum(axis=1)
    return total / np.minimum(relevant, hits.shape[1])


def novelty(columns: NDArray[np.int64], listeners: Counts, users: int) -> Values:
    """Mean self-information of a list by user, in bits: -log2 of the share who heard a track.

    Equation 1 of Zhou et al., "Solving the apparent diversity-accuracy dilemma of recommender
    systems", PNAS 107(10), 2010, over a list's tracks. 0: everybody knows them all.

    Args:
        columns: [users, K]: positions in the catalogue; negative ones count nothing.
        listeners: [catalogue]: how many users of the past heard each track, at least 1.
        users: How many users there are in the past.

    Returns:
        [users]; 0 for an empty list.
    """
    surprise = np.append(np.log2(users / listeners), 0.0)  # the last one for places that are empty
    total: Values = surprise[np.maximum(columns, -1)].sum(axis=1)
    mean: Values = total / np.maximum(np.count_nonzero(columns >= 0, axis=1), 1)
    return mean


def coverage(columns: NDArray[np.int64], catalogue: int) -> float:
    """Share of a catalogue that is in at least one list.

    Args:
        columns: Any shape: positions in the catalogue; negative ones count nothing.
        catalogue: How many tracks there are.
    """
    seen = np.zeros(catalogue, dtype=bool)
    seen[columns[columns >= 0]] = True
    return float(seen.mean())


def mean_figures(
    values: Values, *, resamples: int, seed: int, weights: Values | None = None
) -> list[Figure]:
    """The means of columns with 95 % percentile bootstrap intervals over the rows.

    All columns are resampled together (Efron & Tibshirani, "An Introduction to the Bootstrap",
    ch. 13), so that a column of differences by user has a paired interval.

    Args:
        values: [users, figures], at least one user.
        resamples: How often users are drawn anew.
        seed: Of the drawing.
        weights: [users, figures]: of each user in each mean, above 0 for at least one; None: 1.
    """
    weights = np.ones_like(values) if weights is None else weights
    weighted = values * weights
    drawn = np.concatenate(
        [
            np.stack([draws @ weighted, draws @ weights])
            for draws in _draws(len(values), resamples, seed)
        ],
        axis=1,
    )
    with np.errstate(invalid="ignore"):  # a resample may hold nobody with a weight
        means = drawn[0] / drawn[1]
    low, high = np.nanpercentile(means, [2.5, 97.5], axis=0)
    return [
        Figure(float(mean), float(low[index]), float(high[index]))
        for index, mean in enumerate(weighted.sum(axis=0) / weights.sum(axis=0))
    ]


def coverage_figures(
    lists: Sequence[NDArray[np.int64]], catalogue: int, *, resamples: int, seed: int
) -> list[Figure]:
    """Coverage with its 95 % bootstrap interval over users, moved by the bootstrap's bias.

    A sample with repeats holds fewer different users and covers less: uncorrected, the interval
    would lie below the figure.

    Args:
        lists: Of each figure, for the same users: [users, K] positions in the catalogue; negative
            ones count nothing.
        catalogue: How many tracks there are.
        resamples: As in `mean_figures`.
        seed: As in `mean_figures`.
    """
    rare = [_rare(columns, catalogue) for columns in lists]
    drawn = np.array(
        [
            [always + _distinct(tracks[taken[rows]]) for rows, tracks, always in rare]
            for draws in _draws(len(lists[0]), resamples, seed)
            for taken in draws > 0
        ]
    )
    figures = []
    for columns, found in zip(lists, drawn.T / catalogue, strict=True):
        value = coverage(columns, catalogue)
        low, high = np.percentile(found, [2.5, 97.5]) + value - found.mean()
        figures.append(
            Figure(value, float(min(max(low, 0), value)), float(max(min(high, 1), value)))
        )
    return figures


def _rare(
    columns: NDArray[np.int64], catalogue: int
) -> tuple[NDArray[np.intp], NDArray[np.int64], int]:
    """Rows and tracks that a resample may miss, and how many tracks none can miss."""
    rows, places = np.nonzero(columns >= 0)
    tracks = columns[rows, places]
    counts = np.bincount(tracks, minlength=catalogue)
    rare = counts[tracks] <= _NEVER_MISSED
    _, numbered = np.unique(tracks[rare], return_inverse=True)
    return rows[rare], numbered, int(np.count_nonzero(counts > _NEVER_MISSED))


def _distinct(numbers: NDArray[np.int64]) -> int:
    """How many different small numbers from 0 there are: far faster than by `np.unique`."""
    seen = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=bool)
    seen[numbers] = True
    return int(np.count_nonzero(seen))


def _draws(size: int, resamples: int, seed: int) -> Iterator[Values]:
    """How often each row is in each of the resamples, [resamples of a block, size]."""
    chance = np.random.default_rng(seed)
    at_once = max(1, _DRAWN_AT_ONCE // size)
    for start in range(0, resamples, at_once):
        yield np.stack(
            [
                np.bincount(chance.integers(0, size, size), minlength=size).astype(np.float64)
                for _ in range(min(at_once, resamples - start))
            ]
        )
