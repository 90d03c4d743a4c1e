"""Windows, and what is measured on them, on cases that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest

from moovitamix.observe.drift_features import OF_SHAPE
from moovitamix.observe.drift_shape import base_of, shape_values
from moovitamix.observe.drift_windows import day_number, day_of, history_of
from moovitamix.recommend.matrix import INTERACTIONS
from moovitamix_tests.observe.shifts import Listened

MONDAY = date(2026, 11, 2)
FIRST = day_number(MONDAY)


def heard(rows: Sequence[tuple[int, int, int]]) -> pl.DataFrame:
    """Plays of user, track and day after the first Monday."""
    noon = datetime.combine(MONDAY, time(12))
    return pl.DataFrame(
        [(user, track, noon + timedelta(days=day)) for user, track, day in rows],
        schema=INTERACTIONS,
        orient="row",
    )


def genres(*rows: tuple[int, str]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"track_id": pl.Int64, "genre": pl.String}, orient="row")


def by_name(values: np.ndarray) -> dict[str, float]:
    return dict(zip(OF_SHAPE, values.tolist(), strict=True))


def test_days_are_numbered_from_1970() -> None:
    assert day_number(date(1970, 1, 2)) == 1
    assert day_of(FIRST) == MONDAY


def test_a_window_holds_the_plays_of_its_days_alone() -> None:
    history = history_of(heard([(1, 10, 0), (1, 10, 0), (2, 20, 1), (3, 30, 2)]), genres())
    window = history.window(FIRST, 2)
    assert history.users[window.users].tolist() == [1, 2]
    assert history.tracks[window.tracks].tolist() == [10, 20]
    assert window.plays.toarray().tolist() == [[2, 0], [0, 1]]
    assert history.is_whole(FIRST, 3)
    assert not history.is_whole(FIRST, 4)


def test_a_track_of_two_genres_counts_half_for_each() -> None:
    history = history_of(
        heard([(1, 10, 0), (1, 20, 0)]), genres((10, "jazz"), (10, "rock"), (30, "folk"))
    )
    base = base_of([history.window(FIRST, 1)], FIRST)
    assert dict(zip(history.genres, base.genres.tolist(), strict=True)) == {
        "jazz": 0.25,
        "rock": 0.25,
        "no genre": 0.5,
    }


def test_a_window_that_is_its_own_base_has_not_moved() -> None:
    history = history_of(heard([(1, 10, 0), (1, 20, 0), (2, 20, 0)]), genres((10, "jazz")))
    window = history.window(FIRST, 1)
    values = shape_values(window, base_of([window], FIRST + 1))
    assert values == pytest.approx(np.zeros((1, 6)), abs=1e-7)


def test_who_and_what_came_after_the_reference_is_cold() -> None:
    plays = heard([(1, 10, 0), (2, 10, 0), (1, 10, 1), (2, 20, 1), (3, 20, 1), (4, 10, 1)])
    history = history_of(plays, genres())
    base = base_of([history.window(FIRST, 1)], FIRST + 1)
    found = by_name(shape_values(history.window(FIRST + 1, 1), base)[0])
    assert (found["cold_users"], found["cold_tracks"]) == (0.5, 0.5)


def test_a_user_who_counts_twice_is_as_two_users_of_the_same_plays() -> None:
    plays = [(1, 10, 0), (1, 20, 0), (2, 20, 0), (3, 30, 0), (1, 20, 1), (2, 10, 1)]
    twin = [(9, track, day) for user, track, day in plays if user == 2 and day == 1]
    tags = genres((10, "jazz"), (20, "rock"))
    once, twice = history_of(heard(plays), tags), history_of(heard([*plays, *twin]), tags)
    base = base_of([once.window(FIRST, 1)], FIRST + 1)
    weighted = shape_values(once.window(FIRST + 1, 1), base, np.array([[1.0], [2.0]]))
    plain = shape_values(twice.window(FIRST + 1, 1), base_of([twice.window(FIRST, 1)], FIRST + 1))
    # All but the share of cold users, for the twin is new.
    kept = [OF_SHAPE.index(name) for name in OF_SHAPE if name != "cold_users"]
    assert weighted[0, kept] == pytest.approx(plain[0, kept])


def test_windows_of_another_length_are_not_alike_though_nothing_has_happened(
    listened: Listened,
) -> None:
    """Why the reference is cut into windows of the present's length."""
    history = history_of(listened.plays, listened.genres)
    start = int(history.day[0])
    present = history.window(start + 42, 7)
    alike = base_of([history.window(start + 7 * week, 7) for week in range(2, 6)], start + 42)
    whole = base_of([history.window(start, 42)], start + 42)
    like, unlike = (by_name(shape_values(present, base)[0]) for base in (alike, whole))
    for feature in ("popularity_shape", "user_activity"):
        assert like[feature] < 0.15
        assert unlike[feature] > 0.3


def test_two_halves_of_the_same_plays_are_far_apart_on_raw_ids_and_near_on_the_top(
    listened: Listened,
) -> None:
    from scipy.spatial.distance import jensenshannon

    half = pl.Series(np.random.default_rng(1).random(listened.plays.height) < 0.5)
    counts = [listened.plays.filter(chosen).group_by("track_id").len() for chosen in (half, ~half)]
    both = counts[0].join(counts[1], on="track_id", how="full", coalesce=True).fill_null(0)
    raw = float(jensenshannon(both["len"], both["len_right"], base=2))
    top = both.sort("len", descending=True)
    merged = [[*top[name][:200], top[name][200:].sum()] for name in ("len", "len_right")]
    assert float(jensenshannon(*merged, base=2)) < raw / 1.5
