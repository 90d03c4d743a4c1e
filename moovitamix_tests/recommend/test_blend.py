"""Own late plays count where that is shown to help, and only where repeats are allowed."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from moovitamix.errors import SettingsError
from moovitamix.recommend import blend_choice
from moovitamix.recommend.als import AlsModel, AlsParameters, fit_als, fold_in
from moovitamix.recommend.blend import ALS_ALONE, BlendParameters, score_repeats
from moovitamix.recommend.blend_choice import choose_blend
from moovitamix.recommend.evaluate import evaluate
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.matrix import INTERACTIONS, MatrixParameters, UserItemMatrix, select_users
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.top_n import score_users
from moovitamix_tests.recommend.conftest import AS_OF, random_plays, tasteful_plays

QUICK = AlsParameters(factors=8, iterations=5, regularization=30.0)
RULES = EvaluationRules(resamples=50)


def faithful_plays() -> pl.DataFrame:
    """Users who hear three tracks of their own again and again, and others at random."""
    plays = tasteful_plays()
    chance = np.random.default_rng(5)
    faithful = chance.random(len(plays)) < 0.5
    own = (plays["user_id"] * 7 + pl.Series(chance.integers(0, 3, len(plays))) * 31) % 160
    return plays.with_columns(
        track_id=pl.when(pl.Series(faithful)).then(own * 3 + 5).otherwise("track_id")
    ).cast(INTERACTIONS)


@pytest.fixture(scope="module")
def plays() -> pl.DataFrame:
    return faithful_plays()


@pytest.fixture(scope="module")
def matrix(plays: pl.DataFrame) -> UserItemMatrix:
    return build_matrix(plays, MatrixParameters(), AS_OF)


@pytest.fixture(scope="module")
def model(matrix: UserItemMatrix) -> AlsModel:
    return fit_als(matrix, QUICK)


def test_where_users_return_to_their_tracks_own_plays_count_and_replay_gains(
    plays: pl.DataFrame,
) -> None:
    blend = choose_blend(plays, AS_OF, MatrixParameters(), QUICK, RULES)
    assert blend.own_plays > 0
    alone, with_own = (
        evaluate(plays, AS_OF, MatrixParameters(), QUICK, RULES, blend=chosen)
        for chosen in (ALS_ALONE, blend)
    )
    gained, before = (e.figures["replay"]["candidate"]["ndcg"] for e in (with_own, alone))
    assert gained.low > before.high
    assert with_own.figures["discovery"]["candidate"] == alone.figures["discovery"]["candidate"]


def test_the_test_window_has_no_say_in_the_choice(plays: pl.DataFrame) -> None:
    start = AS_OF - timedelta(days=RULES.test_days)
    test = pl.col("listened_at").dt.date() > start
    shuffled = plays.with_columns(
        track_id=pl.when(test).then(pl.col("track_id").reverse()).otherwise("track_id")
    )
    chosen = choose_blend(plays, AS_OF, MatrixParameters(), QUICK, RULES)
    assert choose_blend(shuffled, AS_OF, MatrixParameters(), QUICK, RULES) == chosen


def test_of_many_users_the_same_part_is_asked_each_time(
    plays: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blend_choice, "MOST_USERS", 60)
    chosen = [choose_blend(plays, AS_OF, MatrixParameters(), QUICK, RULES) for _ in range(2)]
    assert chosen[0] == chosen[1] != ALS_ALONE


def test_where_nothing_is_gained_or_can_be_told_als_ranks_alone() -> None:
    # Everybody hears each track once: what was heard is never heard again.
    once = tasteful_plays().unique(["user_id", "track_id"])
    for plays in (once, random_plays()):
        assert choose_blend(plays, AS_OF, MatrixParameters(), QUICK, RULES) == ALS_ALONE


def test_lists_with_repeats_add_scaled_own_plays_to_scaled_als(
    plays: pl.DataFrame, matrix: UserItemMatrix, model: AlsModel
) -> None:
    blend = BlendParameters(own_plays=0.5, half_life_days=4.0)
    recent = build_matrix(plays, blend.recent, AS_OF)
    als = fold_in(model, matrix) @ model.item_factors.T
    own = recent.values.toarray()
    expected = als / als.max(axis=1, keepdims=True) + 0.5 * own / own.max(axis=1, keepdims=True)
    hidden = matrix.tracks[:3]
    expected[:, :3] = -np.inf
    best = np.sort(expected, axis=1)[:, ::-1][:, :5]
    # Of a windowed matrix some users are gone: rows are found by id.
    some = select_users(matrix, matrix.users[::2])
    for asked, wanted in ((matrix, best), (some, best[::2])):
        blocks = list(score_repeats(model, asked, blend, recent, 5, exclude=hidden, block_rows=64))
        found = np.concatenate([block.scores for block in blocks])
        np.testing.assert_allclose(found, wanted, rtol=1e-4)
        assert not np.isin(np.concatenate([block.tracks for block in blocks]), hidden).any()


def test_als_alone_ranks_repeats_as_the_model_does(matrix: UserItemMatrix, model: AlsModel) -> None:
    (alone,) = score_repeats(model, matrix, ALS_ALONE, None, 5)
    (plain,) = score_users(model, matrix, 5, repeats=True)
    assert alone.tracks.tolist() == plain.tracks.tolist()


def test_versions_of_before_there_was_a_blend_have_none() -> None:
    assert BlendParameters.of({"als": {}, "matrix": {}}) == ALS_ALONE
    told = {"blend": {"own_plays": 1.0, "half_life_days": 4.0}}
    assert BlendParameters.of(told) == BlendParameters(own_plays=1.0, half_life_days=4.0)
    with pytest.raises(SettingsError):
        BlendParameters(own_plays=-1.0)
