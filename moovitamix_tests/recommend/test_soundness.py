"""Each fault that a check is there for is found, and what is sound has none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from moovitamix.recommend.als import AlsModel, AlsParameters, fit_als
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.registry import ModelVersion, Status
from moovitamix.recommend.soundness import (
    champion_faults,
    feature_faults,
    matrix_faults,
    model_faults,
    size_faults,
)
from moovitamix_tests.recommend.conftest import AS_OF, tasteful_plays


@pytest.fixture(scope="module")
def matrix() -> UserItemMatrix:
    return build_matrix(tasteful_plays(), MatrixParameters(), AS_OF)


@pytest.fixture(scope="module")
def model(matrix: UserItemMatrix) -> AlsModel:
    return fit_als(matrix, AlsParameters(factors=8, iterations=3))


def version(status: Status, fingerprint: str) -> ModelVersion:
    return ModelVersion(
        version=3,
        status=status,
        provisional=False,
        algorithm="als",
        as_of=date(2026, 11, 22),
        pull="p",
        matrix_fingerprint=fingerprint,
        parameters={},
        metrics={},
        judged_against=None,
        verdict=None,
        reason=None,
        criteria=[],
        artifact="a",
        code_version="0",
        run_id="r",
        created_at=datetime(2026, 11, 22, tzinfo=UTC),
        promoted_at=None,
        retired_at=None,
        artifact_removed_at=None,
    )


def test_what_is_built_and_fitted_is_sound(matrix: UserItemMatrix, model: AlsModel) -> None:
    assert matrix_faults(matrix) == []
    assert model_faults(model) == []
    assert champion_faults([version("champion", model.matrix_fingerprint)], model) == []


@pytest.mark.parametrize(
    ("values", "ids", "fault"),
    [
        ([[1, 0], [0, np.nan]], [1, 2], "not finite"),
        ([[1, 0], [0, -1]], [1, 2], "not above 0"),
        ([[1, 1], [0, 0]], [1, 2], "users without plays"),
        ([[1, 0], [1, 0]], [1, 2], "tracks without plays"),
        ([[0, 0], [0, 0]], [1, 2], "no plays"),
        ([[1, 0], [0, 1]], [2, 1], "ascending"),
        ([[1, 0], [0, 1]], [1, 1], "ascending"),
        ([[1, 0], [0, 1]], [1, 2, 3], "shape"),
    ],
)
def test_a_faulty_matrix_is_found_out(
    matrix: UserItemMatrix, values: list[list[float]], ids: list[int], fault: str
) -> None:
    faulty = replace(
        matrix,
        values=csr_matrix(np.array(values, dtype=np.float32)),
        users=np.array(ids, dtype=np.int64),
        tracks=np.array([5, 6], dtype=np.int64),
    )
    assert any(fault in found for found in matrix_faults(faulty))


SIZE = {"users": 1_000, "tracks": 500, "pairs": 20_000}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"users": 499}, "499 users, 1,000 in the last"),
        ({"tracks": 249}, "249 tracks"),
        ({"pairs": 9_999}, "9,999 pairs"),
        ({"pairs": 60_100}, "times as dense"),
    ],
)
def test_a_matrix_unlike_the_last_is_found_out(change: dict[str, int], fault: str) -> None:
    assert any(fault in found for found in size_faults({**SIZE, **change}, SIZE))


def test_a_matrix_that_is_the_first_or_has_grown_is_like_the_last() -> None:
    assert size_faults(SIZE, {}) == []
    assert size_faults(SIZE, SIZE) == []
    assert size_faults(SIZE, {"users": 20, "tracks": 20, "pairs": 300}) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda factors: np.full_like(factors, np.nan), "not finite"),
        (lambda factors: factors[:-1], "shape"),
        (np.zeros_like, "collapsed"),
        (lambda factors: np.outer(factors[:, 0], np.ones(8)).astype(np.float32), "same way"),
    ],
)
def test_a_faulty_model_is_found_out(model: AlsModel, change: Any, fault: str) -> None:
    faulty = replace(model, item_factors=change(model.item_factors))
    assert any(fault in found for found in model_faults(faulty))


@pytest.mark.parametrize(
    ("change", "users", "fault"),
    [
        ({}, 3, "2 rows for 3 users"),
        ({"user_id": pl.lit(1)}, 2, "more than one row"),
        ({"plays": pl.lit(None, pl.UInt32)}, 2, "plays has nulls"),
        ({"top_genres": pl.lit(None, pl.List(pl.String))}, 2, "top_genres has nulls"),
        ({"last_listen": pl.lit(None, pl.Datetime("us"))}, 2, "last_listen is missing"),
        ({"days_since_last_listen": pl.lit(4)}, 2, "days_since_last_listen is missing"),
    ],
)
def test_faulty_features_are_found_out(change: dict[str, pl.Expr], users: int, fault: str) -> None:
    sound = pl.DataFrame(
        {
            "user_id": [1, 2],
            "plays": [3, 0],
            "last_listen": [datetime(2026, 11, 20, tzinfo=UTC).replace(tzinfo=None), None],
            "days_since_last_listen": [2, None],
            "top_genres": [["pop"], []],
        }
    )
    assert feature_faults(sound, 2) == []
    assert any(fault in found for found in feature_faults(sound.with_columns(**change), users))


def test_a_faulty_champion_is_found_out(model: AlsModel) -> None:
    right = version("champion", model.matrix_fingerprint)
    assert "0 champions" in champion_faults([version("retired", "f")], model)[0]
    assert "2 champions" in champion_faults([right, right], model)[0]
    assert "no artifact" in champion_faults([right], None)[0]
    assert "other data" in champion_faults([version("champion", "f")], model)[0]
