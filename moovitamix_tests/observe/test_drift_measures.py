"""Distances agree with SciPy's on single distributions, whatever these are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from moovitamix.observe import drift_measures as measures

amounts = st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any)
plays = st.lists(st.integers(1, 57), min_size=1, max_size=30)


@given(amounts, st.lists(amounts, min_size=1, max_size=3))
def test_jensen_shannon_of_columns_is_that_of_each(
    reference: list[int], columns: list[list[int]]
) -> None:
    base = np.array(reference) / sum(reference)
    found = measures.jensen_shannon(
        measures.normalised(np.array(columns, dtype=np.float64).T), base
    )
    expected = [jensenshannon(column, reference, base=2) for column in columns]
    assert found == pytest.approx(np.nan_to_num(expected), abs=1e-7)


@given(plays, plays)
def test_wasserstein_of_counts_is_that_of_their_logarithms(
    present: list[int], reference: list[int]
) -> None:
    shares = measures.shares_of_counts(np.array(present, dtype=np.float64)[:, None])
    base = measures.shares_of_counts(np.array(reference, dtype=np.float64)[:, None])[:, 0]
    found = measures.wasserstein(shares, base, measures.LOG_COUNTS)
    expected = wasserstein_distance(np.log1p(present), np.log1p(reference))
    deviation = np.std(np.log1p(reference))
    scale = deviation if deviation > 1e-9 else 1.0
    assert found[0] == pytest.approx(expected / scale, abs=1e-9)


def test_large_numbers_of_plays_are_placed_within_two_percent() -> None:
    counts = np.array([1, 57, 1_000, 123_456, 10**8], dtype=np.float64)
    placed = measures.COUNTS[measures.count_bins(counts)]
    assert placed[:2].tolist() == [1, 57]
    assert np.all(np.abs(placed / counts - 1) < 0.02)


def test_what_has_no_plays_is_in_no_bin() -> None:
    shares = measures.shares_of_counts(np.array([[0.0, 0.0], [3.0, 0.0]]))
    assert shares.sum(axis=0).tolist() == [1, 0]


def test_the_first_rank_and_the_last_are_at_their_places() -> None:
    bins = measures.rank_bins(np.array([1e-9, 1e-3, 1.0]))
    assert measures.LOG_RANKS[bins] == pytest.approx([-7, -3, 0])
