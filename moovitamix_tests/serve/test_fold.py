"""Folding in: the lists of a user are those that a publication would make of the same plays."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from moovitamix.recommend.als import AlsParameters, fit_als, fold_in
from moovitamix.recommend.blend import BlendParameters
from moovitamix.recommend.matrix import PLAY, SKIP, MatrixParameters, in_columns, select_users
from moovitamix.recommend.matrix_building import Plays, build_matrix
from moovitamix.resources import Warehouse
from moovitamix.serve.codec import TopN, decode_list
from moovitamix.serve.fold import Folding, Known, read_known
from moovitamix.serve.rankings import Rankings
from moovitamix_tests.serve.telling import LOADED_AT, load_plays, tell
from moovitamix_tests.serve.world import AS_OF, World, load_catalogue, plays

N = 15
NOW = datetime(2026, 11, 22, 18, tzinfo=UTC)


def plays_of(world: World) -> pl.DataFrame:
    """What the matrix of the world was made of."""
    matrix = world.matrix
    users = np.repeat(matrix.users, np.diff(matrix.values.indptr)).tolist()
    return plays(set(zip(users, matrix.tracks[matrix.values.indices].tolist(), strict=True)))


def known(frame: pl.DataFrame) -> Known:
    """Nothing but these plays, all of them loaded."""
    return Known(Plays.of(frame), np.zeros(frame.height, dtype=bool), {})


def told(found: Known) -> set[tuple[int, int]]:
    """Users and tracks of what is not loaded yet."""
    plays = found.plays
    return set(
        zip(plays.users[found.told].tolist(), plays.tracks[found.told].tolist(), strict=True)
    )


def under(world: World, parameters: MatrixParameters, own_plays: float = 0.0) -> World:
    """The world with matrix and model made by other parameters."""
    matrix = build_matrix(plays_of(world), parameters, AS_OF)
    model = fit_als(matrix, AlsParameters(factors=8, iterations=5))
    champion = replace(world.champion, model=model, blend=BlendParameters(own_plays=own_plays))
    return replace(world, champion=champion, matrix=matrix)


def folding_of(world: World) -> Folding:
    return Folding.prepare(world.champion, world.matrix, world.catalogue, None)


@pytest.mark.parametrize(
    "parameters",
    [
        MatrixParameters(),
        MatrixParameters(weighting="sqrt", half_life_days=3),
        MatrixParameters(weighting="binary", window_days=30),
        MatrixParameters(weighting="bm25", daily_cap=2),
    ],
    ids=lambda parameters: parameters.weighting,
)
@pytest.mark.parametrize("own_plays", [0.0, 0.5])
def test_lists_are_those_that_a_publication_makes_of_the_same_plays(
    world: World, parameters: MatrixParameters, own_plays: float
) -> None:
    world = under(world, parameters, own_plays)
    users = np.array([3, 8, World.NEWCOMER])
    own = plays_of(world).filter(pl.col("user_id").is_in(users.tolist()))
    made = folding_of(world).lists(known(own), NOW, N)
    recent = build_matrix(plays_of(world), world.champion.blend.recent, AS_OF)
    published = Rankings(
        champion=world.champion,
        matrix=world.matrix,
        catalogue=world.catalogue,
        recent=recent if own_plays else None,
        list_length=N,
    ).of_users(users)
    expected = {
        ("u", user): TopN(tracks[:length], scores[:length])
        for _, block in published.users()
        for user, tracks, scores, length in zip(
            block.ids.tolist(), block.tracks, block.scores, block.lengths, strict=True
        )
    } | {
        ("r", user): TopN(tracks[:length], scores[:length])
        for block in published.repeats()
        for user, tracks, scores, length in zip(
            block.ids.tolist(), block.tracks, block.scores, block.lengths, strict=True
        )
    }
    assert {(one.kind, one.user) for one in made} == expected.keys()
    for one in made:
        found, wanted = decode_list(one.value), expected[one.kind, one.user]
        np.testing.assert_allclose(found.scores, wanted.scores, rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(found.ids, wanted.ids)


def test_skips_take_from_own_plays_as_they_do_in_a_publication(world: World) -> None:
    world = under(world, MatrixParameters(), own_plays=0.5)
    blend, users = world.champion.blend, np.array([3, 8])
    told = plays_of(world).with_columns(kind=pl.lit(PLAY, dtype=pl.Int8))
    own = told.filter(pl.col("user_id").is_in(users.tolist()))
    skips = own.group_by("user_id").first().with_columns(kind=pl.lit(SKIP, dtype=pl.Int8))
    everything = pl.concat([told, skips.select(told.columns)])
    published = select_users(build_matrix(everything, blend.recent, AS_OF), users)
    folded = folding_of(world).recent(Plays.of(own), AS_OF, skips.select(told.columns))
    assert folded is not None
    tracks = world.champion.model.tracks
    found = in_columns(folded, tracks).toarray()
    np.testing.assert_array_equal(found, in_columns(published, tracks).toarray())
    assert len(np.unique(found[found > 0])) == 2


def test_factors_are_those_of_the_librarys_own_recalculation(world: World) -> None:
    model = world.champion.model
    rows = folding_of(world).rows(Plays.of(plays_of(world).filter(pl.col("user_id") < 9)), AS_OF)
    with threadpool_limits(1, "blas"):
        library = AlternatingLeastSquares(
            factors=8, alpha=model.parameters.alpha, regularization=model.parameters.regularization
        )
        library.item_factors = model.item_factors
        expected = library.recalculate_user(
            np.arange(len(rows.users)), in_columns(rows, model.tracks)
        )
    np.testing.assert_allclose(fold_in(model, rows), expected, rtol=1e-6)
    np.testing.assert_array_equal(
        in_columns(rows, model.tracks).toarray(),
        in_columns(select_users(world.matrix, rows.users), model.tracks).toarray(),
    )


def test_plays_of_today_count_with_those_that_were_loaded(
    warehouse: Warehouse, world: World
) -> None:
    load_catalogue(warehouse, world.catalogue)
    load_plays(warehouse, world)
    tell(warehouse, 1, [147, 148], LOADED_AT + timedelta(days=2))
    with warehouse.connect() as connection:
        found = read_known(connection, [1, 2])
    assert set(found.marks) == {1}
    assert told(found) == {(1, 147), (1, 148)}
    heard = found.plays.tracks[found.plays.users == 1]
    assert set(heard.tolist()) == world.heard_by(1) | {147, 148}
    lists = {(one.kind, one.user): one for one in folding_of(world).lists(found, NOW, N)}
    assert lists["u", 1].mark == found.marks[1]
    assert {147, 148}.isdisjoint(decode_list(lists["u", 1].value).ids.tolist())
    assert decode_list(lists["h", 1].value).ids.tolist() == [147, 148]
    assert ("h", 2) not in lists


def test_a_play_that_was_told_and_then_pulled_is_one(warehouse: Warehouse, world: World) -> None:
    load_catalogue(warehouse, world.catalogue)
    tell(warehouse, 1, [120], LOADED_AT + timedelta(days=2))
    with warehouse.connect() as connection:
        before = read_known(connection, [1])
        connection.execute(
            "INSERT INTO listen_history (user_id, track_id, listened_at, recorded_at, nth) "
            "SELECT user_id, track_id, listened_at, recorded_at, nth FROM activity"
        )
        after = read_known(connection, [1])
    for column, of_after in zip(before.plays, after.plays, strict=True):
        np.testing.assert_array_equal(column, of_after)
    assert (told(before), told(after)) == ({(1, 120)}, set())


def test_a_play_dated_ahead_counts_as_of_now(world: World) -> None:
    ahead = pl.DataFrame(
        {"user_id": [1], "track_id": [120], "listened_at": [datetime(2026, 11, 23, 9)]},  # noqa: DTZ001 - as in tables
        schema=plays(set()).schema,
    )
    made = folding_of(world).lists(known(ahead), NOW, N)
    assert [one.kind for one in made] == ["u", "r", "h"]


def test_nothing_known_is_nobody_folded_in(world: World) -> None:
    assert folding_of(world).lists(known(plays(set())), NOW, N) == []
