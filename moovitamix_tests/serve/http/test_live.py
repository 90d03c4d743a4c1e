"""The live tier ranks by the published rule, and its explanations add up to the scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from moovitamix.recommend.als import AlsModel
from moovitamix.recommend.blend import BlendParameters, score_repeats
from moovitamix.recommend.matrix import MatrixParameters, in_columns, select_users
from moovitamix.recommend.top_n import score_users
from moovitamix.serve.http.live import LiveModel, best_of
from moovitamix_tests.serve.world import World


@pytest.fixture(scope="module")
def live(world: World) -> LiveModel:
    return LiveModel(world.champion, world.matrix).prepare()


def users(world: World) -> list[int]:
    return [int(user) for user in world.matrix.users if user != World.NEWCOMER]


def test_scores_are_those_of_the_published_lists(live: LiveModel, world: World) -> None:
    excluded = np.array(World.WITHDRAWN)
    allowed = ~np.isin(live.tracks, excluded)
    for block in score_users(world.champion.model, world.matrix, 20, exclude=excluded):
        for row, user in enumerate(block.ids.tolist()):
            if not block.lengths[row]:
                continue
            scored = live.score(user, repeats=False)
            assert scored is not None
            found = best_of(live.tracks, scored.scores, allowed, 20)
            assert found.scores == pytest.approx(block.scores[row], rel=1e-3, abs=1e-5)
            assert len(np.intersect1d(found.ids, block.tracks[row])) >= 19


@pytest.mark.parametrize("own_plays", [0.0, 0.7])
def test_repeats_are_ranked_by_the_versions_blend(world: World, own_plays: float) -> None:
    blend = BlendParameters(own_plays=own_plays, half_life_days=3.0)
    recent = replace(world.matrix, parameters=MatrixParameters(half_life_days=3.0))
    live = LiveModel(replace(world.champion, blend=blend), world.matrix, recent).prepare()
    for block in score_repeats(world.champion.model, world.matrix, blend, recent, 15):
        for row, user in enumerate(block.ids.tolist()):
            if not block.lengths[row]:
                continue
            scored = live.score(user, repeats=True)
            assert scored is not None
            found = best_of(live.tracks, scored.scores, None, 15)
            assert found.scores == pytest.approx(block.scores[row], rel=1e-3, abs=1e-5)


def test_contributions_add_up_to_the_score(live: LiveModel, world: World) -> None:
    model = world.champion.model
    for user in users(world)[::7]:
        own = select_users(world.matrix, np.array([user]))
        factors = model.solve_users(in_columns(own, model.tracks))[0]
        told = live.explain(user, model.tracks)
        assert set(told) == set(model.tracks.tolist())
        for place, track in enumerate(model.tracks.tolist()):
            score = float(model.item_factors[place] @ factors)
            assert float(told[track].scores.sum()) == pytest.approx(score, rel=1e-3, abs=1e-5)
            assert set(told[track].ids.tolist()) == world.heard_by(user) & set(told)


def test_contributions_are_those_of_implicit(live: LiveModel, world: World) -> None:
    model: AlsModel = world.champion.model
    user = users(world)[10]
    own = in_columns(select_users(world.matrix, np.array([user])), model.tracks)
    for place in (3, 17, 30):
        total, contributions, _ = model._solver.explain(0, own, place, N=100)
        told = live.explain(user, model.tracks[[place]])[int(model.tracks[place])]
        ours = dict(zip(told.ids.tolist(), told.scores.tolist(), strict=True))
        theirs = {int(model.tracks[column]): float(adds) for column, adds in contributions}
        assert float(sum(ours.values())) == pytest.approx(float(total), rel=1e-3, abs=1e-5)
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-5)


def test_who_is_not_known_is_not_scored(live: LiveModel) -> None:
    nobody = [0, -1, 10**15, World.NEWCOMER]
    assert [live.score(user, repeats=False) for user in nobody] == [None] * 4
    assert [live.explain(user, live.tracks) for user in nobody] == [{}] * 4
    assert live.heard(10**15).tolist() == []
    assert set(live.heard(World.NEWCOMER).tolist()) == {142, 143}
    assert live.similarity(World.NEVER_HEARD) is None


@given(
    hnp.arrays(
        np.float32,
        st.integers(0, 40),
        elements=st.sampled_from([-np.inf, -1.5, 0.0, 0.25, 1.0, 3.0]),
    ),
    st.integers(1, 50),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_the_best_are_those_of_a_full_sort(
    scores: NDArray[np.float32], n: int, may: list[bool]
) -> None:
    tracks = np.arange(len(scores), dtype=np.int64) * 3 + 1
    allowed = np.array(may[: len(scores)], dtype=np.bool_)
    every = [
        (-float(score), int(track))
        for score, track, kept in zip(scores, tracks, allowed, strict=True)
        if kept and np.isfinite(score)
    ]
    found = best_of(tracks, scores, allowed, n)
    assert found.ids.tolist() == [track for _, track in sorted(every)[:n]]
