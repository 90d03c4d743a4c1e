"""A search finds what is better, keeps to its budget, goes on after a kill, and sees no test."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pytest

from moovitamix.ingest.lake import LakeStore
from moovitamix.recommend import archive
from moovitamix.recommend.als import AlsParameters
from moovitamix.recommend.choice import choose
from moovitamix.recommend.configuration import Configuration
from moovitamix.recommend.evaluation import EvaluationRules
from moovitamix.recommend.matrix import MatrixParameters, end_of
from moovitamix.recommend.tuning import search, space
from moovitamix.recommend.tuning.outcome import Budget, Tuned
from moovitamix.recommend.tuning.search import tune
from moovitamix.recommend.tuning.trials import load_trials
from moovitamix.recommend.tuning.validation import Validation, cut_validation
from moovitamix_tests.recommend.conftest import AS_OF, random_plays, tasteful_plays

RULES = EvaluationRules()
# One factor gives everybody the same list: there is something to be found.
POOR = Configuration(als=AlsParameters(factors=1, alpha=1.0, iterations=1))


@pytest.fixture(scope="module")
def window() -> Validation:
    return cut_validation(tasteful_plays(), AS_OF, RULES)


@pytest.fixture(autouse=True)
def _small_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 48 factors and six iterations: the search is the same, its fits take no time."""
    monkeypatch.setattr(space, "FACTORS", (4, 48))
    monkeypatch.setattr(space, "CHECKPOINTS", (2, 6))
    monkeypatch.setattr(space, "_STARTS", (AlsParameters(factors=24, alpha=4.0),))


def search_for(
    window: Validation, lake: LakeStore, trials: int, tell: Callable[[str], None] = lambda _: None
) -> Tuned:
    return tune(window, POOR, Budget(trials=trials), lake, seed=1, tell=tell)


def same(tuned: Tuned) -> Tuned:
    return replace(tuned, seconds=0)


def test_what_is_better_is_found_told_of_and_found_again(
    window: Validation, lake: LakeStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    told: list[str] = []
    tuned = search_for(window, lake, 8, told.append)
    assert tuned.better
    assert tuned.trials == 8
    assert tuned.ndcg is not None
    assert tuned.first_ndcg is not None
    assert tuned.ndcg > 1.5 * tuned.first_ndcg
    assert [line for line in told if line.startswith("trial 8: NDCG")]
    elsewhere = LakeStore(tmp_path_factory.mktemp("other").as_uri())
    assert same(search_for(window, elsewhere, 8)) == same(tuned)


def test_the_configuration_in_force_is_tried_first_then_the_defaults(
    window: Validation, lake: LakeStore
) -> None:
    tuned = search_for(window, lake, 2)
    first, second = load_trials(lake, tuned.study)
    assert first.configuration == POOR  # as it is, though it is outside the space
    assert replace(second.configuration.als, iterations=10) == AlsParameters()


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(
    window: Validation, lake: LakeStore, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def die_after_the_sixth(line: str) -> None:
        if line.startswith("trial 6:"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_for(window, lake, 8, die_after_the_sixth)
    told: list[str] = []
    resumed = search_for(window, lake, 8, told.append)
    assert told[0].startswith("6 trials of an earlier tuning")
    assert sum(line.startswith("trial ") for line in told) == 2
    elsewhere = LakeStore(tmp_path_factory.mktemp("other").as_uri())
    assert same(search_for(window, elsewhere, 8)) == same(resumed)


def test_a_smaller_budget_afterwards_gives_what_it_would_have_given_at_once(
    window: Validation, lake: LakeStore
) -> None:
    small = search_for(window, lake, 3)
    search_for(window, lake, 6)
    assert same(search_for(window, lake, 3)) == same(small)


def test_nothing_is_chosen_that_cannot_be_told_from_the_first(
    window: Validation, lake: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same configuration under other names: its gain is 0, and so is the error.
    monkeypatch.setattr(space, "as_configuration", lambda _point, first: first)
    monkeypatch.setattr(space, "starts", lambda first: [first])
    monkeypatch.setattr(space, "CHECKPOINTS", (Configuration().als.iterations,))
    tuned = tune(window, Configuration(), Budget(trials=3), lake, seed=1)
    assert (tuned.better, tuned.configuration) == (False, Configuration())
    assert tuned.trials == 3


def test_the_time_of_a_budget_is_kept_also_inside_a_fit(
    window: Validation, lake: LakeStore
) -> None:
    endless = Configuration(als=AlsParameters(factors=8, iterations=1_000_000))
    began = time.monotonic()
    tuned = tune(window, endless, Budget(time=timedelta(seconds=1)), lake, seed=1)
    assert time.monotonic() - began < 10
    assert (tuned.better, tuned.trials, tuned.configuration) == (False, 0, endless)


def test_the_time_is_kept_also_while_a_search_that_goes_on_measures_its_first_trial_again(
    window: Validation, lake: LakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(*_arguments: object) -> None:
        after_iteration = _arguments[-1]
        assert callable(after_iteration)
        for _ in range(3_000_000):
            after_iteration()
        pytest.fail("nobody has looked at the clock")

    search_for(window, lake, 1)
    monkeypatch.setattr(search, "judge", endless)
    budget = Budget(time=timedelta(seconds=0.05))
    assert tune(window, POOR, budget, lake, seed=1).trials == 1


def test_the_days_that_the_gate_judges_by_are_never_looked_at(window: Validation) -> None:
    plays = tasteful_plays()
    mirrored = pl.col("track_id").max() + pl.col("track_id").min() - pl.col("track_id")
    in_test = pl.col("listened_at") >= end_of(AS_OF) - timedelta(days=RULES.test_days)
    poison = plays.with_columns(track_id=pl.when(in_test).then(mirrored).otherwise("track_id"))
    assert not poison.equals(plays)
    poisoned = cut_validation(poison, AS_OF, RULES)
    assert poisoned.fingerprint == window.fingerprint
    past_of_test = end_of(AS_OF) - timedelta(days=2 * RULES.test_days)
    assert poisoned.past.filter(pl.col("listened_at") >= past_of_test).is_empty()


def test_other_data_is_another_study(window: Validation, lake: LakeStore) -> None:
    first = search_for(window, lake, 1)
    other = search_for(cut_validation(tasteful_plays(seed=8), AS_OF, RULES), lake, 1)
    assert other.study != first.study
    assert load_trials(lake, first.study) == []  # swept: it is of other data


def test_a_record_of_trials_that_cannot_be_read_says_what_to_do(
    window: Validation, lake: LakeStore
) -> None:
    study = search_for(window, lake, 1).study
    lake.write_bytes(f"recommend/tuning/{study}.json", b"[{}]")
    with pytest.raises(archive.DamagedArtifact, match="remove recommend/tuning"):
        load_trials(lake, study)


@pytest.mark.parametrize(
    ("plays", "lacking"),
    [(random_plays(), "3.0 tracks on average"), (tasteful_plays(users=30), "30 users to tune by")],
)
def test_too_little_data_takes_the_defaults_and_says_so(
    plays: pl.DataFrame, lacking: str, lake: LakeStore
) -> None:
    choice = choose(None, Budget(trials=5), lambda: plays, AS_OF, lake, lambda _: None)
    assert choice.configuration == Configuration()
    assert choice.by == "defaults"
    assert choice.why.startswith("Too little data to tune")
    assert lacking in choice.why


def test_a_point_of_the_space_is_a_configuration_and_back() -> None:
    tuned = Configuration(
        MatrixParameters(weighting="bm25", half_life_days=30.0, daily_cap=5),
        AlsParameters(factors=40, alpha=12.5, regularization=7.5),
    )
    assert space.as_configuration(space.as_point(tuned), tuned) == tuned
    assert space.as_configuration(space.as_point(POOR), POOR).matrix.half_life_days is None
