"""The baselines are what their papers say, and preferences err as defined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from moovitamix.recommend.als import AlsModel, AlsParameters, fit_als
from moovitamix.recommend.blend import ALS_ALONE
from moovitamix.recommend.ease import fit_ease
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix, select_users
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.neighbours import similarities
from moovitamix.recommend.prediction_error import rmse
from moovitamix.recommend.rankers import Audience, Contender
from moovitamix_tests.recommend.conftest import AS_OF, tasteful_plays


@pytest.fixture(scope="module")
def matrix() -> UserItemMatrix:
    return build_matrix(tasteful_plays(plays=1_500), MatrixParameters(), AS_OF)


@pytest.fixture(scope="module")
def model(matrix: UserItemMatrix) -> AlsModel:
    return fit_als(matrix, AlsParameters(factors=8, iterations=3))


def test_similarities_are_cosines_of_bm25_weights_and_the_strongest_are_kept(
    matrix: UserItemMatrix,
) -> None:
    plays = matrix.values.toarray().astype(np.float64)
    heard_by = (plays > 0).sum(axis=0)
    rarity = np.log(1 + (len(plays) - heard_by + 0.5) / (heard_by + 0.5))
    length = plays.sum(axis=1, keepdims=True)
    weights = rarity * plays * 2.2 / (plays + 1.2 * (0.25 + 0.75 * length / length.mean()))
    cosines = weights.T @ weights
    norms = np.sqrt(np.diag(cosines))
    cosines /= np.outer(norms, norms)
    np.fill_diagonal(cosines, 0)

    np.testing.assert_allclose(similarities(matrix.values, 200).toarray(), cosines, atol=1e-6)
    nearest = similarities(matrix.values, 5)
    assert np.diff(nearest.indptr).max() == 5
    for row in range(len(cosines)):
        kept = np.sort(nearest[row].data)
        np.testing.assert_allclose(kept, np.sort(cosines[row])[-len(kept) :], atol=1e-6)


def test_ease_solves_what_it_minimizes(matrix: UserItemMatrix) -> None:
    """Its gradient, XᵀXB - XᵀX + λB, is 0 but on the diagonal, where B has to be 0."""
    heard = (matrix.values.toarray() > 0).astype(np.float64)
    weights = fit_ease(matrix.values, regularization=20.0).astype(np.float64)
    gram = heard.T @ heard
    gradient = gram @ weights - gram + 20.0 * weights
    np.fill_diagonal(gradient, 0)
    assert (np.diag(weights) == 0).all()
    assert np.abs(gradient).max() < 1e-3
    assert np.abs(weights).max() > 0.01


def audience(matrix: UserItemMatrix) -> Audience:
    return Audience(matrix, select_users(matrix, matrix.users[:40]), ["discovery"], 10)


def unheard_pairs(asked: Audience) -> tuple[np.ndarray, np.ndarray]:
    """The first two tracks that each user has not heard."""
    rows, columns = np.nonzero(asked.heard.values.toarray() == 0)
    first = np.concatenate([np.flatnonzero(rows == row)[:2] for row in np.unique(rows)])
    return rows[first], columns[first]


def test_an_error_of_preferences_weighs_plays_and_is_told_beside_that_of_zeros(
    matrix: UserItemMatrix, model: AlsModel
) -> None:
    asked = audience(matrix)
    rows, columns = unheard_pairs(asked)
    indifferent = replace(model, item_factors=np.zeros_like(model.item_factors))
    plays = np.resize([1, 3], len(rows))
    found = rmse(
        asked,
        {
            "indifferent": Contender(indifferent, matrix, ALS_ALONE, None),
            "model": Contender(model, matrix, ALS_ALONE, None),
        },
        rows,
        columns,
        plays,
        resamples=50,
        seed=1,
    )
    # Half of the discovered pairs weigh 1, half log2(1 + 3) = 2, as many unheard cells 1 each.
    assert found["all zeros"].value == pytest.approx(np.sqrt(1.5 / 2.5))
    assert found["indifferent"] == found["all zeros"]
    assert found["model"].low <= found["model"].value <= found["model"].high
    assert found["model"].value != pytest.approx(found["all zeros"].value)


def test_no_preference_is_asked_for_a_heard_track_as_if_it_were_not(
    matrix: UserItemMatrix, model: AlsModel
) -> None:
    # All but two tracks were heard, these two are discovered: there is no unheard cell.
    values = np.ones(matrix.values.shape, dtype=np.float32)
    values[:, :2] = 0
    full = replace(matrix, values=csr_matrix(values))
    asked = audience(full)
    rows, columns = unheard_pairs(asked)
    plays = np.ones(len(rows), dtype=np.int64)
    alone = {"model": Contender(model, full, ALS_ALONE, None)}
    found = rmse(asked, alone, rows, columns, plays, resamples=20, seed=1)
    assert found["all zeros"].value == pytest.approx(1)
