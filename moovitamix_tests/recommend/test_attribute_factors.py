"""Factors of tracks without listens come from heard tracks of their artist and genres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from moovitamix.recommend.als import AlsModel, AlsParameters
from moovitamix.recommend.attribute_factors import AttributeFactors
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix_tests.recommend.conftest import AS_OF

Row = tuple[int, str, list[str]]


def features(rows: Sequence[Row]) -> pl.DataFrame:
    return pl.DataFrame(
        rows,
        schema={"track_id": pl.Int64, "artist": pl.String, "genres": pl.List(pl.String)},
        orient="row",
    )


def model(factors: dict[int, list[float]]) -> AlsModel:
    width = len(next(iter(factors.values())))
    return AlsModel(
        user_factors=np.zeros((0, width), np.float32),
        item_factors=np.array([factors[track] for track in sorted(factors)], np.float32),
        users=np.empty(0, np.int64),
        tracks=np.array(sorted(factors)),
        parameters=AlsParameters(factors=width),
        matrix_parameters=MatrixParameters(),
        matrix_fingerprint="f",
        as_of=AS_OF,
    )


def test_means_are_shrunk_on_two_levels_as_worked_out_by_hand() -> None:
    fitted = model({1: [4, 0], 2: [2, 0], 3: [0, 6]})
    known: list[Row] = [(1, "ann", ["folk"]), (2, "bo", ["folk", "pop"]), (3, "bo", ["pop"])]
    found = AttributeFactors.fit(fitted, features(known))
    # The mean is (2, 2). Folk has track 1, and half of 2: (2 + 0/2, -2 - 2/2) / (1.5 + 1).
    np.testing.assert_allclose(found.mean, [2, 2])
    np.testing.assert_allclose(found.genres[found.genre_places["folk"]], [2 / 2.5, -3 / 2.5])
    np.testing.assert_allclose(found.genres[found.genre_places["pop"]], [-2 / 2.5, 3 / 2.5])
    # Of Ann's one track the genre explains (0.8, -1.2) of (2, -2): (1.2, -0.8) / (1 + 3) is left.
    np.testing.assert_allclose(found.artists[found.artist_places["ann"]], [0.3, -0.2])
    # Of Bo's two, (0, -2) and (-2, 4), the genres explain (0, 0) and (-0.8, 1.2).
    np.testing.assert_allclose(found.artists[found.artist_places["bo"]], [-1.2 / 5, 0.8 / 5])
    fresh = found.directions(features([(9, "ann", ["folk"])]))
    expected = np.array([2 + 0.8 + 0.3, 2 - 1.2 - 0.2])
    np.testing.assert_allclose(fresh[0], expected / np.linalg.norm(expected), rtol=1e-6)


def test_unknown_genres_and_artists_leave_what_is_known() -> None:
    fitted = model({1: [4, 0], 2: [2, 0], 3: [0, 6]})
    known: list[Row] = [(1, "ann", ["folk"]), (2, "bo", ["folk"]), (3, "bo", ["pop"])]
    found = AttributeFactors.fit(fitted, features(known))
    by_genre, with_more, by_artist, of_none, without_any = found.directions(
        features(
            [
                (10, "who?", ["folk"]),
                (11, "who?", ["folk", "what?"]),
                (12, "ann", ["what?"]),
                (13, "who?", ["what?"]),
                (14, "who?", []),
            ]
        )
    )
    np.testing.assert_array_equal(by_genre, with_more)
    assert np.linalg.norm(by_artist) == pytest.approx(1)
    assert not of_none.any()
    assert not without_any.any()


def test_rows_in_any_order_and_tracks_beyond_the_model_make_no_difference() -> None:
    chance = np.random.default_rng(4)
    fitted = model({track: chance.normal(size=5).tolist() for track in range(0, 80, 2)})
    rows = [(t, f"artist {t % 7}", [f"g{t % 3}", f"g{t % 5}"][: t % 3]) for t in range(80)]
    fresh = features([(100, "artist 3", ["g1", "g2"]), (101, "artist 4", [])])
    of_model = AttributeFactors.fit(fitted, features(rows[::2])).directions(fresh)
    backwards = AttributeFactors.fit(fitted, features(rows[::-1])).directions(fresh)
    np.testing.assert_allclose(of_model, backwards, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(of_model, axis=1), 1, rtol=1e-6)


def test_a_model_none_of_whose_tracks_has_attributes_knows_nobody() -> None:
    found = AttributeFactors.fit(model({1: [4, 0]}), features([]))
    assert not found.directions(features([(9, "ann", ["folk"])])).any()
