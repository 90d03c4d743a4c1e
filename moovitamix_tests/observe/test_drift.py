"""Nothing is read into fresh worlds in which nothing happens, and shifts are found.

The short form of `benchmarks/drift.py`, which has the figures of forty worlds: three small ones
with plain shifts, and one of its size, with shifts of the sizes that `docs/drift.md` states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from moovitamix.observe import drift
from moovitamix.observe.drift import Reading, gap_of, judge, read_model, worst
from moovitamix.observe.drift_features import BY_NAME, FEATURES, OF_MODEL
from moovitamix.observe.drift_null import Bound, Null
from moovitamix.observe.drift_plan import CannotTell, DriftRules, plan
from moovitamix.observe.drift_windows import day_number, history_of
from moovitamix_tests.observe.conftest import AS_OF, NEWEST, small_world
from moovitamix_tests.observe.reader import Reader, fitted
from moovitamix_tests.observe.shifts import FIRST_DAY, SHIFTS, Listened, world

SEEDS = (21, 22, 23)

# Shift, its size, and the features that tell it from others.
FOUND = [
    ("genre swap", 0.15, {"genre_mix"}),
    ("activity", 3.0, {"user_activity"}),
    ("new catalogue", 0.15, {"cold_tracks"}),
    ("popularity flip", 0.4, {"popular_tracks"}),
    ("stale model", 1.0, {"score_ranks"}),
]


# The smallest that each is found at in every world of the benchmark, and by what it is told there.
STATED = {
    "genre swap": (0.05, "genre_mix"),
    "activity": (1.2, "user_activity"),
    "new catalogue": (0.1, "cold_tracks"),
    "popularity flip": (0.15, "score_ranks"),
    "stale model": (0.3, "score_ranks"),
}


@dataclass(frozen=True)
class Watched:
    """A world with its champion."""

    listened: Listened
    reader: Reader


@pytest.fixture(scope="module")
def worlds() -> list[Watched]:
    made = [small_world(seed) for seed in SEEDS]
    rules = DriftRules()
    return [Watched(one, Reader(one, fitted(one.plays, AS_OF, 16), rules)) for one in made]


def drifted(readings: Sequence[Reading]) -> set[str]:
    return {one.feature for one in readings if one.verdict == "drifted"}


def test_no_alarm_is_read_in_fresh_worlds_in_which_nothing_happens(worlds: list[Watched]) -> None:
    days = [AS_OF + timedelta(days=age) for age in (1, 3, 5, 7)]
    readings = [
        watched.reader.read(watched.listened.plays, day) for watched in worlds for day in days
    ]
    assert [drifted(found) for found in readings] == [set()] * 12
    assert len([found for found in readings if worst(found) == "warning"]) <= 1
    told = {one.verdict for found in readings for one in found}
    assert "cannot tell" not in told


@pytest.mark.parametrize("back", [2, 20])
def test_a_silent_day_in_the_champions_data_neither_hides_a_shift_nor_looks_like_one(
    worlds: list[Watched], back: int
) -> None:
    listened = worlds[0].listened
    torn = pl.col("listened_at").dt.date() != AS_OF - timedelta(days=back)
    quiet = listened.plays.filter(torn)
    reader = Reader(listened, fitted(quiet, AS_OF, 16), DriftRules())
    steady = reader.read(quiet, NEWEST)
    assert "cannot tell" not in {one.verdict for one in steady}
    assert drifted(steady) == set()
    since = AS_OF + timedelta(days=1)
    shifted = SHIFTS["genre swap"](listened, since, 0.5, np.random.default_rng(1))
    assert "genre_mix" in drifted(reader.read(shifted.filter(torn), NEWEST))


def test_the_least_effects_alone_would_be_alarms_in_worlds_as_small(worlds: list[Watched]) -> None:
    """Why thresholds are calibrated: chance alone goes beyond a fixed one."""
    for watched in worlds:
        readings = watched.reader.read(watched.listened.plays, NEWEST)
        beyond = [
            one.feature
            for one in readings
            if BY_NAME[one.feature].floor == "value"
            and (one.value or 0) >= BY_NAME[one.feature].least_warning
        ]
        assert beyond


@pytest.mark.parametrize(("name", "size", "tell_tale"), FOUND, ids=[row[0] for row in FOUND])
def test_a_shift_is_found_in_every_world(
    worlds: list[Watched], name: str, size: float, tell_tale: set[str]
) -> None:
    for watched in worlds:
        shifted = SHIFTS[name](
            watched.listened, AS_OF + timedelta(days=1), size, np.random.default_rng(1)
        )
        assert drifted(watched.reader.read(shifted, NEWEST)) >= tell_tale


def test_a_shift_of_the_stated_size_is_found_in_a_world_of_the_stated_size() -> None:
    """3,000 users, a champion of the defaults on 60 days, read on the seventh day after."""
    listened = world(21, days=67)
    as_of = FIRST_DAY + timedelta(days=59)
    since, newest = as_of + timedelta(days=1), as_of + timedelta(days=7)
    reader = Reader(listened, fitted(listened.plays, as_of), DriftRules())
    assert worst(reader.read(listened.plays, newest)) == "steady"
    chance = np.random.default_rng(21)
    found = {
        name: drifted(reader.read(SHIFTS[name](listened, since, size, chance), newest))
        for name, (size, _) in STATED.items()
    }
    assert [name for name, (_, tell_tale) in STATED.items() if tell_tale not in found[name]] == []


def test_a_stale_model_alone_leaves_the_shape_of_the_plays(worlds: list[Watched]) -> None:
    for watched in worlds:
        shifted = SHIFTS["stale model"](
            watched.listened, AS_OF + timedelta(days=1), 1.0, np.random.default_rng(1)
        )
        assert drifted(watched.reader.read(shifted, NEWEST)) <= set(OF_MODEL)


def test_the_gap_is_in_whole_windows_since_the_champions_last_day() -> None:
    ages = {age: gap_of(AS_OF, AS_OF + timedelta(days=age), 7) for age in (1, 7, 8, 14, 15)}
    assert ages == {1: 0, 7: 0, 8: 1, 14: 1, 15: 2}
    for age in (0, -3):
        with pytest.raises(CannotTell, match="trained on this day"):
            gap_of(AS_OF, AS_OF + timedelta(days=age), 7)


def test_a_threshold_is_crossed_in_the_direction_that_is_bad() -> None:
    rising, falling = Bound(0.1, 0.2, 0.3), Bound(0.3, 0.2, 0.1)
    up, down = BY_NAME["genre_mix"], BY_NAME["quality"]
    assert [judge(up, value, rising) for value in (0.0, 0.19, 0.2, 0.3)] == [
        *("steady", "steady", "warning", "drifted"),
    ]
    assert [judge(down, value, falling) for value in (0.9, 0.21, 0.2, 0.1)] == [
        *("steady", "steady", "warning", "drifted"),
    ]


def test_the_worst_feature_is_the_verdict_and_blind_ones_do_not_count() -> None:
    def of(*verdicts: drift.Verdict) -> drift.Verdict:
        return worst([Reading("genre_mix", None, None, verdict) for verdict in verdicts])

    assert of("steady", "drifted", "warning", "cannot tell") == "drifted"
    assert of("steady", "warning", "cannot tell") == "warning"
    assert of("steady", "cannot tell") == "steady"
    assert of("cannot tell", "cannot tell") == "cannot tell"


def test_too_few_listeners_and_a_day_without_plays_cannot_tell_and_say_so(
    listened: Listened,
) -> None:
    history = history_of(listened.plays, listened.genres)
    planned = plan(history, day_number(AS_OF), DriftRules(), 0)
    null = Null(gap=0, bounds={})

    def reasons(day: date, rules: DriftRules) -> set[str]:
        readings, seen = drift.read_shape(history, planned, null, day, rules)
        assert {one.verdict for one in readings} == {"cannot tell"}
        assert seen is None
        return {one.reason for one in readings}

    (few,) = reasons(NEWEST, DriftRules(least_users=10_000))
    assert few.endswith("users listened in these 7 days, of 10000 that it takes")
    (torn,) = reasons(NEWEST + timedelta(days=1), DriftRules())
    assert torn == "there are days without plays in these 7"


def test_a_day_without_a_model_says_why_its_features_cannot_be_told() -> None:
    readings = read_model(None, Null(gap=0, bounds={}), DriftRules(), "none is there")
    assert [(one.feature, one.reason) for one in readings] == [
        (name, "none is there") for name in OF_MODEL
    ]
    told = drift.nothing_told("too young")
    assert [one.feature for one in told] == [feature.name for feature in FEATURES]
