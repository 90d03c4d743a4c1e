"""Measures of ranked lists by user, and how far chance could have moved their means.

Let K be the length of a list, rel_k whether its k-th track is relevant, R the number of relevant
tracks of the user. All are textbook (Manning, Raghavan & Schütze, "Introduction to Information
Retrieval", ch. 8; Järvelin & Kekäläinen, ACM TOIS 20(4), 2002, for NDCG).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Hits = NDArray[np.bool_]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]


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


def coverage(columns: NDArray[np.int64], catalogue: int) -> float:
    """Share of a catalogue that is in at least one list.

    Args:
        columns: Any shape: positions in the catalogue; negative ones count nothing.
        catalogue: How many tracks there are.
    """
    seen = np.zeros(catalogue, dtype=bool)
    seen[columns[columns >= 0]] = True
    return float(seen.mean())


def mean_figures(values: Values, *, resamples: int, seed: int) -> list[Figure]:
    """The means of columns with 95 % percentile bootstrap intervals over the rows.

    All columns are resampled together (Efron & Tibshirani, "An Introduction to the Bootstrap",
    ch. 13), so that a column of differences by user has a paired interval.

    Args:
        values: [users, figures], at least one user.
        resamples: How often users are drawn anew.
        seed: Of the drawing.
    """
    means = np.array(
        [weights @ values / len(values) for weights in _draws(values, resamples, seed)]
    )
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return [
        Figure(float(mean), float(low[index]), float(high[index]))
        for index, mean in enumerate(values.mean(axis=0))
    ]


def coverage_figure(
    columns: NDArray[np.int64], catalogue: int, *, resamples: int, seed: int
) -> Figure:
    """Coverage with its 95 % bootstrap interval over users, moved by the bootstrap's bias.

    A sample with repeats holds fewer different users and covers less: uncorrected, the interval
    would lie below the figure.
    """
    value = coverage(columns, catalogue)
    drawn = np.array(
        [coverage(columns[weights > 0], catalogue) for weights in _draws(columns, resamples, seed)]
    )
    low, high = np.percentile(drawn, [2.5, 97.5]) + value - drawn.mean()
    return Figure(value, float(min(max(low, 0), value)), float(max(min(high, 1), value)))


def _draws(rows: NDArray[np.generic], resamples: int, seed: int) -> Iterator[Counts]:
    """How often each row is in each of the resamples."""
    chance = np.random.default_rng(seed)
    size = len(rows)
    for _ in range(resamples):
        yield np.bincount(chance.integers(0, size, size), minlength=size)
