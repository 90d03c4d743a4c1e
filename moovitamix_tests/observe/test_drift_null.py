"""Which windows are compared, and thresholds that chance crosses as seldom as is asked for."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from moovitamix.ingest.lake import LakeStore
from moovitamix.observe.drift import read_shape
from moovitamix.observe.drift_features import BY_NAME, FEATURES, bounded, can_be_crossed
from moovitamix.observe.drift_measures import LOG_RANKS
from moovitamix.observe.drift_model import JudgedDay
from moovitamix.observe.drift_null import (
    Bound,
    Null,
    bounds_of,
    calibrate,
    drawn_around,
    shape_draws,
    user_weights,
)
from moovitamix.observe.drift_plan import CannotTell, DriftRules, plan
from moovitamix.observe.drift_store import load_null, store_null
from moovitamix.observe.drift_windows import History, day_number, day_of, history_of
from moovitamix_tests.observe.conftest import AS_OF
from moovitamix_tests.observe.shifts import Listened

RULES = DriftRules()
END = day_number(AS_OF) + 1


@pytest.fixture(scope="module")
def history(listened: Listened) -> History:
    return history_of(listened.plays, listened.genres)


@pytest.mark.parametrize("gap", [0, 1, 2, 3, 4])
def test_past_windows_are_as_long_after_as_many_windows_as_the_present_is(
    history: History, gap: int
) -> None:
    found = plan(history, day_number(AS_OF), RULES, gap)
    assert found.gap == gap
    assert found.base[0] == END - 7
    for begin, before in found.past:
        assert len(before) == len(found.base)
        assert begin - before[0] == 7 + 7 * gap
        assert {first - second for first, second in pairwise(before)} <= {7}
        assert before[-1] >= END - 49
        assert begin + 7 <= END
    assert max(begin for begin, _ in found.past) == END - 7
    assert len({begin for begin, _ in found.past}) >= 7


def test_a_reference_too_short_for_the_gap_takes_a_smaller_one(history: History) -> None:
    assert plan(history, day_number(AS_OF), RULES, 30).gap == 4


def test_two_windows_of_data_cannot_tell(history: History) -> None:
    with pytest.raises(CannotTell, match="2 windows of 7 days, of 3"):
        plan(history, int(history.day[0]) + 19, RULES, 0)
    assert plan(history, int(history.day[0]) + 20, RULES, 0).base


def without(listened: Listened, *days: int) -> History:
    torn = pl.col("listened_at").dt.date().is_in([day_of(day) for day in days])
    return history_of(listened.plays.filter(~torn), listened.genres)


@pytest.mark.parametrize("gap", [0, 2])
@pytest.mark.parametrize("back", [1, 3, 20, 40])
def test_a_window_with_a_day_without_plays_gives_its_place_to_the_whole_one_before_it(
    history: History, listened: Listened, gap: int, back: int
) -> None:
    hole, whole = END - back, plan(history, day_number(AS_OF), RULES, gap)
    found = plan(without(listened, hole), day_number(AS_OF), RULES, gap)
    assert (found.gap, found.end) == (gap, END)
    assert len(found.base) == len(whole.base)
    for begin, before in [(END + 7 * gap, found.base), *found.past]:
        for start in (begin, *before):
            assert not start <= hole < start + 7
            assert (begin - start) % 7 == 0
        assert len(before) == len(found.base)
        assert before[0] <= begin - 7 * (gap + 1)


def test_a_base_is_smaller_where_few_windows_are_whole_and_never_of_one_for_that(
    listened: Listened,
) -> None:
    holes = [END - 3, END - 10, END - 17]
    found = plan(without(listened, *holes), day_number(AS_OF), RULES, 0)
    assert 2 <= len(found.base) < RULES.base_windows
    with pytest.raises(CannotTell, match="days without plays"):
        plan(without(listened, *range(END - 3, 0, -7)[:8]), day_number(AS_OF), RULES, 0)


def test_who_came_in_the_last_week_is_known_also_where_a_day_of_it_is_missing(
    listened: Listened,
) -> None:
    torn = without(listened, END - 3)
    planned = plan(torn, day_number(AS_OF), RULES, 0)
    assert planned.base[0] < END - 7
    _, seen = read_shape(torn, planned, Null(gap=0, bounds={}), day_of(END + 6), RULES)
    assert seen is not None
    assert seen.base.known_before == END


def test_calibrating_again_draws_the_same(history: History) -> None:
    planned = plan(history, day_number(AS_OF), RULES, 0)
    first, second = (shape_draws(history, planned, RULES) for _ in range(2))
    assert np.array_equal(first, second)
    other = shape_draws(history, planned, replace(RULES, seed=1))
    assert not np.array_equal(first, other)


def test_each_resample_has_as_many_users() -> None:
    weights = user_weights(40, 30, np.random.default_rng(1))
    assert weights.sum(axis=0).tolist() == [40] * 30
    assert len(np.unique(weights, axis=1).T) > 20


def test_draws_are_stretched_to_where_past_windows_differ_by_more_than_who_listens() -> None:
    chance = np.random.default_rng(2)
    draws = [chance.normal(size=(5_000, 2)) for _ in range(8)]
    own = np.column_stack([np.arange(8.0), np.full(8, 5.0)])
    wide, narrow = drawn_around(own, draws, 8).T
    assert (wide.mean(), narrow.mean()) == pytest.approx((3.5, 5), abs=1e-9)
    assert wide.std() == pytest.approx(np.std(range(8), ddof=1) * np.sqrt(1 + 1 / 8), rel=0.01)
    assert narrow.std() == pytest.approx(np.sqrt(1 + 1 / 8), rel=0.01)


def test_all_features_together_cross_a_threshold_as_seldom_as_is_asked_for() -> None:
    chance = np.random.default_rng(5)

    def drawn() -> dict[str, np.ndarray]:
        shared = chance.normal(size=20_000)
        return {
            feature.name: 3 + 0.6 * shared + 0.8 * chance.normal(size=20_000)
            for feature in FEATURES
        }

    bounds, fresh = bounds_of(drawn(), RULES), drawn()
    warned, alarmed = np.zeros(20_000, bool), np.zeros(20_000, bool)
    for name, values in fresh.items():
        bad = 1 if BY_NAME[name].worse == "up" else -1
        warned |= bad * values > bad * bounds[name].warning
        alarmed |= bad * values > bad * bounds[name].alarm
    assert warned.mean() == pytest.approx(0.05, abs=0.01)
    assert alarmed.mean() == pytest.approx(0.01, abs=0.004)


def test_a_threshold_is_never_below_the_least_effect_that_matters() -> None:
    genre, cold, quality = (BY_NAME[name] for name in ("genre_mix", "cold_users", "quality"))
    assert bounded(genre, 0.01, 0.02, genre.least_alarm) == 0.1
    assert bounded(genre, 0.01, 0.3, genre.least_alarm) == 0.3
    assert bounded(cold, 0.2, 0.21, cold.least_alarm) == pytest.approx(0.25)
    assert bounded(quality, 0.2, 0.199, quality.least_alarm) == pytest.approx(0.18)
    assert bounded(quality, 0.2, 0.1, quality.least_alarm) == 0.1


def test_a_threshold_beyond_all_that_can_be_is_none() -> None:
    genre, shape, quality = (BY_NAME[name] for name in ("genre_mix", "popularity_shape", "quality"))
    assert [can_be_crossed(genre, threshold) for threshold in (0.99, 1.0)] == [True, False]
    assert [can_be_crossed(quality, threshold) for threshold in (0.01, 0.0)] == [True, False]
    assert can_be_crossed(shape, 40.0)


def test_a_feature_that_chance_moves_by_all_that_it_could_cannot_be_told(
    history: History,
) -> None:
    planned = plan(history, day_number(AS_OF), RULES, 0)
    nobody_hit = JudgedDay(csr_matrix(np.ones((60, len(LOG_RANKS)))), np.eye(60)[0])
    null = calibrate(history, planned, [nobody_hit] * 6, RULES)
    assert "quality" not in null.bounds
    assert null.reasons == {"quality": "chance alone moves it by as much as it could move"}


def test_past_windows_with_too_few_listeners_are_left_out_while_others_are_there(
    listened: Listened,
) -> None:
    early = pl.col("listened_at").dt.date() < day_of(END - 28)
    few = listened.plays["user_id"].unique().sort()[:45].to_list()
    young = history_of(
        listened.plays.filter(~early | pl.col("user_id").is_in(few)), listened.genres
    )
    planned = plan(young, day_number(AS_OF), replace(RULES, base_windows=1), 0)
    draws = shape_draws(young, planned, RULES)
    assert 0 < len(draws) // RULES.resamples < len(planned.past)
    with pytest.raises(CannotTell, match="users listened"):
        shape_draws(young, planned, replace(RULES, least_users=10_000))


def test_a_calibration_is_kept_beside_the_model_and_read_back_for_the_same_rules(
    lake: LakeStore,
) -> None:
    null = Null(
        gap=2,
        bounds={"genre_mix": Bound(0.03, 0.06, 0.1)},
        reasons={"quality": "few"},
        past_windows=11,
        past_days=21,
        rank_shares=[0.25, 0.75],
    )
    store_null(lake, "recommend/models/run=r", null, RULES)
    assert lake.names("recommend/models/run=r") == ["recommend/models/run=r/drift-7d-gap2.json"]
    assert load_null(lake, "recommend/models/run=r", 2, RULES) == null
    assert load_null(lake, "recommend/models/run=r", 1, RULES) is None
    assert load_null(lake, "recommend/models/run=r", 2, replace(RULES, resamples=3)) is None
    lake.write_bytes("recommend/models/run=r/drift-7d-gap2.json", b"{}")
    assert load_null(lake, "recommend/models/run=r", 2, RULES) is None
