"""Lists are the best, in order, the same every time, and without what was heard."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from moovitamix.recommend.als import AlsModel, AlsParameters, fit_als, fold_in
from moovitamix.recommend.matrix import MatrixParameters, UserItemMatrix
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.popularity import listeners, score_popular
from moovitamix.recommend.top_n import TopN, rank, rank_scores, score_users, similar_tracks
from moovitamix_tests.recommend.conftest import AS_OF, tasteful_plays


@pytest.fixture(scope="module")
def matrix() -> UserItemMatrix:
    return build_matrix(tasteful_plays(), MatrixParameters(), AS_OF)


@pytest.fixture(scope="module")
def model(matrix: UserItemMatrix) -> AlsModel:
    return fit_als(matrix, AlsParameters(factors=16))


def lists(blocks: object) -> list[tuple[int, list[int]]]:
    return [
        (int(block.ids[row]), block.tracks[row, : block.lengths[row]].tolist())
        for block in blocks  # type: ignore[attr-defined]
        for row in range(len(block.ids))
    ]


@given(st.data())
@settings(max_examples=100)
def test_equal_scores_are_ordered_by_track_id_also_where_the_list_ends(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 12))
    n = data.draw(st.integers(1, 14))
    # Small whole numbers: many ties, and exact sums in any order.
    small = st.integers(-1, 1)
    items = np.array(
        data.draw(st.lists(st.tuples(small, small), min_size=width, max_size=width)), np.float32
    )
    queries = np.array(data.draw(st.lists(st.tuples(small, small), min_size=1, max_size=4)))
    queries = queries.astype(np.float32)
    hidden = np.array(
        data.draw(
            st.lists(
                st.lists(st.booleans(), min_size=width, max_size=width),
                min_size=len(queries),
                max_size=len(queries),
            )
        )
    )
    tracks = np.arange(width, dtype=np.int64) * 10
    exclude = np.array(data.draw(st.lists(st.sampled_from(tracks.tolist()))), dtype=np.int64)
    block = rank(
        np.arange(len(queries)),
        queries,
        items,
        tracks,
        n,
        leave_out=csr_matrix(hidden.astype(np.float32)),
        exclude=exclude,
    )
    for row, scores in enumerate(queries @ items.T):
        allowed = [c for c in range(width) if not hidden[row, c] and tracks[c] not in exclude]
        expected = sorted(allowed, key=lambda c: (-scores[c], tracks[c]))[:n]
        length = block.lengths[row]
        assert block.tracks[row, :length].tolist() == tracks[expected].tolist()
        assert block.scores[row, :length].tolist() == scores[expected].tolist()
    dense = rank_scores(
        block.ids,
        queries @ items.T,
        tracks,
        n,
        leave_out=csr_matrix(hidden.astype(np.float32)),
        exclude=exclude,
    )
    assert dense.lengths.tolist() == block.lengths.tolist()
    for row, length in enumerate(block.lengths):
        assert dense.tracks[row, :length].tolist() == block.tracks[row, :length].tolist()
        assert dense.scores[row, :length].tolist() == block.scores[row, :length].tolist()


def test_lists_are_the_users_best_new_tracks(matrix: UserItemMatrix, model: AlsModel) -> None:
    scores = fold_in(model, matrix) @ model.item_factors.T
    scores[matrix.values.toarray() > 0] = -np.inf
    for row, (user, tracks) in enumerate(lists(score_users(model, matrix, 10, block_rows=64))):
        assert user == matrix.users[row]
        columns = np.searchsorted(model.tracks, tracks)
        np.testing.assert_allclose(
            scores[row, columns], np.sort(scores[row])[::-1][:10], rtol=1e-4, atol=1e-5
        )


def test_blocks_together_are_every_user_once(matrix: UserItemMatrix, model: AlsModel) -> None:
    blocks = list(score_users(model, matrix, 5, block_rows=100))
    assert [len(block.ids) for block in blocks] == [100, 100, 40]
    assert np.concatenate([block.ids for block in blocks]).tolist() == matrix.users.tolist()


def test_what_was_heard_is_left_out_unless_repeats_are_allowed(
    matrix: UserItemMatrix, model: AlsModel
) -> None:
    heard = [set(matrix.tracks[row.indices].tolist()) for row in matrix.values]
    new = lists(score_users(model, matrix, 10))
    repeated = lists(score_users(model, matrix, 10, repeats=True))
    assert all(not heard[row] & set(tracks) for row, (_, tracks) in enumerate(new))
    assert any(heard[row] & set(tracks) for row, (_, tracks) in enumerate(repeated))


def test_excluded_tracks_are_in_no_list(matrix: UserItemMatrix, model: AlsModel) -> None:
    gone = model.tracks[::2]
    for blocks in (
        score_users(model, matrix, 200, exclude=gone),
        similar_tracks(model, 200, exclude=gone),
        score_popular(matrix, 200, exclude=gone),
    ):
        found = {track for _, tracks in lists(blocks) for track in tracks}
        assert found == set(model.tracks[1::2].tolist())


def test_a_user_whose_tracks_the_model_does_not_know_has_an_empty_list(
    model: AlsModel,
) -> None:
    plays = tasteful_plays().head(1).with_columns(track_id=pl.lit(-5, dtype=pl.Int64))
    stranger = build_matrix(plays, MatrixParameters(), AS_OF)
    assert [tracks for _, tracks in lists(score_users(model, stranger, 10))] == [[]]


def test_similar_tracks_are_of_the_same_group_and_never_the_track_itself(model: AlsModel) -> None:
    same = 0
    found = lists(similar_tracks(model, 5, block_rows=50))
    for track, others in found:
        assert track not in others
        same += sum((other - 5) // 3 % 8 == (track - 5) // 3 % 8 for other in others)
    assert [track for track, _ in found] == model.tracks.tolist()
    assert same > 0.9 * 5 * len(found)


def test_similarities_are_cosines_in_falling_order(model: AlsModel) -> None:
    block: TopN = next(similar_tracks(model, 3, block_rows=10))
    unit = model.item_factors / np.linalg.norm(model.item_factors, axis=1, keepdims=True)
    columns = np.searchsorted(model.tracks, block.tracks)
    expected = np.einsum("rf,rnf->rn", unit[:10], unit[columns])
    np.testing.assert_allclose(block.scores, expected, rtol=1e-4)
    assert (np.diff(block.scores, axis=1) <= 0).all()


def test_popularity_counts_users_not_plays(matrix: UserItemMatrix) -> None:
    plays = tasteful_plays()
    expected = plays.unique(["user_id", "track_id"])["track_id"].value_counts()
    found = dict(zip(matrix.tracks.tolist(), listeners(matrix).tolist(), strict=True))
    assert found == dict(expected.iter_rows())


def test_popular_lists_are_the_ranking_by_users_less_what_the_user_heard(
    matrix: UserItemMatrix,
) -> None:
    counts = dict(zip(matrix.tracks.tolist(), listeners(matrix).tolist(), strict=True))
    ranking = sorted(counts, key=lambda track: (-counts[track], track))
    for row, (_, tracks) in enumerate(lists(score_popular(matrix, 10, block_rows=100))):
        heard = set(matrix.tracks[matrix.values[row].indices].tolist())
        assert tracks == [track for track in ranking if track not in heard][:10]


def test_popular_lists_with_repeats_are_the_ranking_for_everybody(matrix: UserItemMatrix) -> None:
    found = [tracks for _, tracks in lists(score_popular(matrix, 10, repeats=True))]
    assert found == [found[0]] * len(matrix.users)
