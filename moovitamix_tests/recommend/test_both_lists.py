"""Both lists of a few users from one scoring are those that are published, each by its own rule."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from moovitamix.recommend.als import AlsModel, AlsParameters, fit_als
from moovitamix.recommend.blend import ALS_ALONE, BlendParameters, score_repeats
from moovitamix.recommend.both_lists import score_both
from moovitamix.recommend.left_out import NOTHING, LeftOut
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.new_releases import NewReleases, ReleaseParameters
from moovitamix.recommend.top_n import TopN, score_users
from moovitamix_tests.recommend.conftest import AS_OF, tasteful_plays

BLEND = BlendParameters(own_plays=0.5, half_life_days=4.0)


@pytest.fixture(scope="module")
def plays() -> pl.DataFrame:
    return tasteful_plays()


@pytest.fixture(scope="module")
def matrix(plays: pl.DataFrame) -> UserItemMatrix:
    return build_matrix(plays, MatrixParameters(), AS_OF)


@pytest.fixture(scope="module")
def model(matrix: UserItemMatrix) -> AlsModel:
    return fit_als(matrix, AlsParameters(factors=8, iterations=5, regularization=30.0))


def releases_of(model: AlsModel) -> NewReleases:
    """Three that the model does not know, and two that few have heard."""
    tracks = np.append(model.tracks[:2], model.tracks[-1] + np.arange(1, 4))
    directions = np.random.default_rng(1).normal(size=(5, 8)).astype(np.float32)
    return NewReleases(
        tracks,
        directions / np.linalg.norm(directions, axis=1, keepdims=True),
        np.array([False, False, True, True, True]),
        ReleaseParameters(first=3, every=4),
    )


@pytest.mark.parametrize("blend", [ALS_ALONE, BLEND])
@pytest.mark.parametrize("filtered", [False, True])
def test_each_list_is_that_of_its_own_rule(
    plays: pl.DataFrame,
    matrix: UserItemMatrix,
    model: AlsModel,
    blend: BlendParameters,
    filtered: bool,
) -> None:
    recent = build_matrix(plays, blend.recent, AS_OF) if blend.own_plays else None
    hides = pl.DataFrame({"user_id": matrix.users[[0, 0, 5]], "track_id": matrix.tracks[[7, 9, 9]]})
    left_out = LeftOut.of(hides) if filtered else NOTHING
    exclude = matrix.tracks[3:6] if filtered else None
    releases = releases_of(model) if filtered else None
    both = list(
        score_both(
            model,
            matrix,
            blend,
            recent,
            20,
            exclude=exclude,
            releases=releases,
            left_out=left_out,
            block_rows=37,
        )
    )
    (fresh,) = score_users(
        model, matrix, 20, exclude=exclude, releases=releases, left_out=left_out, block_rows=9_999
    )
    (repeated,) = score_repeats(
        model,
        matrix,
        blend,
        recent,
        20,
        exclude=exclude,
        releases=releases,
        left_out=left_out,
        block_rows=9_999,
    )
    same_lists([one for one, _ in both], fresh)
    same_lists([one for _, one in both], repeated)


def same_lists(blocks: list[TopN], whole: TopN) -> None:
    np.testing.assert_array_equal(np.concatenate([block.ids for block in blocks]), whole.ids)
    lengths = np.concatenate([block.lengths for block in blocks])
    np.testing.assert_array_equal(lengths, whole.lengths)
    filled = np.arange(whole.tracks.shape[1]) < lengths[:, None]
    scores = np.concatenate([block.scores for block in blocks])
    np.testing.assert_allclose(scores[filled], whole.scores[filled], rtol=1e-4, atol=1e-6)
    tracks = np.concatenate([block.tracks for block in blocks])
    # Where two scores are a rounding apart, which is first is chance.
    assert (tracks[filled] == whole.tracks[filled]).mean() > 0.999


def test_who_has_heard_nothing_the_model_knows_has_empty_lists(model: AlsModel) -> None:
    unknown = pl.DataFrame(
        {"user_id": [1], "track_id": [10**6], "listened_at": [tasteful_plays()["listened_at"][0]]}
    )
    matrix = build_matrix(unknown, MatrixParameters(), AS_OF)
    ((fresh, repeated),) = score_both(model, matrix, ALS_ALONE, None, 5)
    assert (fresh.lengths.tolist(), repeated.lengths.tolist()) == ([0], [0])
