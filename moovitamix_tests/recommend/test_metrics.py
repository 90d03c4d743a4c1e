"""Measures agree with the textbook and with scikit-learn, and intervals with statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score

from moovitamix.recommend import metrics

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(2, 30), st.integers(1, 12))
@settings(max_examples=80)
def test_ndcg_agrees_with_scikit_learn(seed: int, width: int, k: int) -> None:
    chance = np.random.default_rng(seed)
    relevant = np.zeros(width)
    relevant[chance.permutation(width)[: chance.integers(1, width + 1)]] = 1
    ranking = chance.permutation(width)
    k = min(k, width)
    hits = relevant[ranking[:k]][None] > 0
    scores = np.empty(width)
    scores[ranking] = -np.arange(width)
    found = metrics.ndcg(hits, np.array([int(relevant.sum())]))
    np.testing.assert_allclose(found, ndcg_score([relevant], [scores], k=k))


@given(seeds, st.integers(2, 30))
@settings(max_examples=40)
def test_average_precision_of_a_full_ranking_agrees_with_scikit_learn(
    seed: int, width: int
) -> None:
    chance = np.random.default_rng(seed)
    hits = np.zeros(width, dtype=bool)
    hits[chance.permutation(width)[: chance.integers(1, width + 1)]] = True
    found = metrics.average_precision(hits[None], np.array([hits.sum()]))
    expected = average_precision_score(hits, -np.arange(width))
    np.testing.assert_allclose(found, expected)


def test_measures_of_a_list_worked_out_by_hand() -> None:
    hits = np.array([[True, False, True, False]])
    three = np.array([3])
    discounts = 1 / np.log2([2, 3, 4])
    assert metrics.precision(hits, three) == [2 / 4]
    assert metrics.recall(hits, three) == [2 / 3]
    np.testing.assert_allclose(metrics.average_precision(hits, three), [(1 + 2 / 3) / 3])
    np.testing.assert_allclose(
        metrics.ndcg(hits, three), [(discounts[0] + discounts[2]) / discounts.sum()]
    )


def test_a_full_list_of_hits_is_perfect_also_with_more_relevant_tracks_than_places() -> None:
    hits, many = np.ones((1, 10), dtype=bool), np.array([25])
    assert metrics.ndcg(hits, many) == pytest.approx([1])
    assert metrics.average_precision(hits, many) == pytest.approx([1])
    assert metrics.recall(hits, many) == pytest.approx([0.4])


def test_coverage_counts_distinct_tracks_and_no_ended_places() -> None:
    assert metrics.coverage(np.array([[0, 1], [1, -1]]), 8) == 2 / 8


def test_the_interval_of_a_mean_is_about_two_standard_errors_to_either_side() -> None:
    values = np.random.default_rng(5).normal(3, 2, (400, 1))
    (figure,) = metrics.mean_figures(values, resamples=2000, seed=1)
    error = values.std() / 20
    assert figure.value == values.mean()
    assert figure.low == pytest.approx(values.mean() - 1.96 * error, abs=0.25 * error)
    assert figure.high == pytest.approx(values.mean() + 1.96 * error, abs=0.25 * error)


def test_a_difference_by_user_has_a_paired_interval() -> None:
    chance = np.random.default_rng(5)
    first = chance.random(300)
    second = first + 0.01
    values = np.column_stack([first, second, second - first])
    one, other, gain = metrics.mean_figures(values, resamples=200, seed=1)
    assert one.high > other.low
    assert gain.low == pytest.approx(0.01)
    assert gain.high == pytest.approx(0.01)


def test_the_same_seed_gives_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(5).random((50, 2))
    figures = [metrics.mean_figures(values, resamples=50, seed=seed) for seed in (1, 1, 2)]
    assert figures[0] == figures[1] != figures[2]


def test_the_interval_of_coverage_holds_its_figure() -> None:
    columns = np.random.default_rng(5).integers(0, 500, (60, 10))
    (figure,) = metrics.coverage_figures([columns], 500, resamples=200, seed=1)
    assert figure.low < figure.value < figure.high


def test_novelty_is_the_mean_of_what_a_lists_tracks_tell_in_bits() -> None:
    lists = np.array([[0, 1, 2], [2, -1, -1], [-1, -1, -1]])
    found = metrics.novelty(lists, np.array([8, 4, 1]), users=8)
    np.testing.assert_allclose(found, [(0 + 1 + 3) / 3, 3, 0])


def test_the_interval_of_coverage_is_that_of_counting_every_track_in_every_resample() -> None:
    chance = np.random.default_rng(5)
    columns = np.minimum((100 * chance.random((300, 5)) ** 4).astype(np.int64), 99)
    (figure,) = metrics.coverage_figures([columns], 120, resamples=60, seed=1)
    again = np.random.default_rng(1)
    drawn = [metrics.coverage(columns[again.integers(0, 300, 300)], 120) for _ in range(60)]
    low, high = np.percentile(drawn, [2.5, 97.5]) + figure.value - np.mean(drawn)
    assert (figure.low, figure.high) == pytest.approx((low, high))


def test_users_count_in_a_mean_as_they_weigh() -> None:
    values = np.array([[0.2, 0.2], [0.4, 0.4], [0.9, 0.9]])
    weights = np.array([[1.0, 1.0], [3.0, 1.0], [0.0, 1.0]])
    part, whole = metrics.mean_figures(values, weights=weights, resamples=50, seed=1)
    assert part.value == pytest.approx((0.2 + 3 * 0.4) / 4)
    assert whole.value == pytest.approx(0.5)
    assert part.low == pytest.approx(0.2)
    assert part.high == pytest.approx(0.4)
