"""ALS is fitted, folded in and kept."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moovitamix.errors import SettingsError
from moovitamix.recommend.als import (
    AlsModel,
    AlsParameters,
    bound_regularization,
    decode_model,
    encode_model,
    fit_als,
    fold_in,
)
from moovitamix.recommend.archive import DamagedArtifact
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix, select_users
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.soundness import model_faults
from moovitamix_tests.recommend.conftest import AS_OF, random_plays, tasteful_plays

SMALL = AlsParameters(factors=8, alpha=10.0, regularization=5.0, iterations=6)


@pytest.fixture(scope="module")
def matrix() -> UserItemMatrix:
    return build_matrix(tasteful_plays(), MatrixParameters(), AS_OF)


@pytest.fixture(scope="module")
def model(matrix: UserItemMatrix) -> AlsModel:
    return fit_als(matrix, SMALL)


def test_a_second_fit_is_the_same_bit_by_bit(matrix: UserItemMatrix, model: AlsModel) -> None:
    again = fit_als(matrix, SMALL)
    assert again.user_factors.tobytes() == model.user_factors.tobytes()
    assert again.item_factors.tobytes() == model.item_factors.tobytes()


def test_another_seed_gives_other_factors(matrix: UserItemMatrix, model: AlsModel) -> None:
    other = fit_als(matrix, replace(SMALL, seed=1))
    assert not np.array_equal(other.item_factors, model.item_factors)


def test_a_fit_warns_of_nothing(matrix: UserItemMatrix) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_als(matrix, SMALL)


def test_each_iteration_is_told_once_and_in_order(matrix: UserItemMatrix) -> None:
    told: list[tuple[int, int]] = []
    fit_als(matrix, replace(SMALL, iterations=3), lambda *step: told.append(step))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_fold_in_solves_equation_4_with_confidence_alpha_times_the_value(
    matrix: UserItemMatrix, model: AlsModel
) -> None:
    found = fold_in(model, select_users(matrix, matrix.users[:5]))
    y = model.item_factors.astype(np.float64)
    for row in range(5):
        values = matrix.values[row].toarray()[0].astype(np.float64)
        confidence = np.where(values > 0, SMALL.alpha * values, 1.0)
        left = (y.T * confidence) @ y + SMALL.regularization * np.eye(SMALL.factors)
        right = (y.T * confidence) @ (values > 0)
        np.testing.assert_allclose(found[row], np.linalg.solve(left, right), rtol=1e-3, atol=1e-4)


def test_fold_in_prefers_the_tracks_of_a_new_users_group(model: AlsModel) -> None:
    newcomer = pl.DataFrame(
        {"user_id": [999_999] * 3, "track_id": [5 + 3 * t for t in (2, 10, 18)]}
    ).with_columns(listened_at=pl.lit(AS_OF).cast(pl.Datetime("us")))
    factors = fold_in(model, build_matrix(newcomer, MatrixParameters(), AS_OF))
    best = np.argsort(-(model.item_factors @ factors[0]))[:10]
    assert {(int(model.tracks[column]) - 5) // 3 % 8 for column in best} == {2}


def test_fold_in_of_tracks_the_model_does_not_know_gives_zeros(model: AlsModel) -> None:
    stranger = pl.DataFrame({"user_id": [1], "track_id": [-1]}).with_columns(
        listened_at=pl.lit(AS_OF).cast(pl.Datetime("us"))
    )
    assert not fold_in(model, build_matrix(stranger, MatrixParameters(), AS_OF)).any()


def test_thin_data_lowers_the_regularization_so_that_the_model_does_not_collapse() -> None:
    thin = build_matrix(random_plays(), MatrixParameters(), AS_OF)
    bounded = bound_regularization(AlsParameters(), thin)
    assert model_faults(fit_als(thin, AlsParameters())) != []
    assert model_faults(fit_als(thin, bounded)) == []
    largest = np.linalg.svd(thin.values.toarray(), compute_uv=False)[0]
    assert bounded.regularization == pytest.approx(0.3 * bounded.alpha * largest, rel=0.05)


def test_the_regularization_is_never_raised(matrix: UserItemMatrix) -> None:
    assert bound_regularization(SMALL, matrix) == SMALL


@pytest.mark.parametrize(
    "wrong", [{"factors": 0}, {"iterations": 0}, {"alpha": 0.0}, {"regularization": -1.0}]
)
def test_parameters_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError):
        AlsParameters(**wrong)  # type: ignore[arg-type]


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_a_model_survives_its_file(users: int, tracks: int, factors: int, seed: int) -> None:
    chance = np.random.default_rng(seed)
    model = AlsModel(
        user_factors=chance.normal(size=(users, factors)).astype(np.float32),
        item_factors=chance.normal(size=(tracks, factors)).astype(np.float32),
        users=np.arange(users, dtype=np.int64),
        tracks=np.arange(tracks, dtype=np.int64) * 2**40,
        parameters=AlsParameters(factors=factors, seed=seed),
        matrix_parameters=MatrixParameters(half_life_days=30.5),
        matrix_fingerprint="f",
        as_of=date(2026, 11, 22),
    )
    back = decode_model(encode_model(model))
    for name in ("user_factors", "item_factors", "users", "tracks"):
        np.testing.assert_array_equal(getattr(back, name), getattr(model, name))
    assert (back.parameters, back.matrix_parameters) == (model.parameters, model.matrix_parameters)
    assert (back.matrix_fingerprint, back.as_of) == (model.matrix_fingerprint, model.as_of)


def test_a_model_whose_factors_do_not_fit_its_ids_is_damage(model: AlsModel) -> None:
    with pytest.raises(DamagedArtifact, match="shapes"):
        decode_model(encode_model(replace(model, users=model.users[:-1])))


def test_a_model_file_is_not_taken_for_a_matrix(model: AlsModel) -> None:
    from moovitamix.recommend.matrix_file import read_matrix

    with pytest.raises(DamagedArtifact):
        read_matrix(io.BytesIO(encode_model(model)))


def test_a_model_cut_short_is_damage(model: AlsModel) -> None:
    with pytest.raises(DamagedArtifact):
        decode_model(encode_model(model)[:-100])
