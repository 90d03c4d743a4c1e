"""The gate promotes what has shown enough, by made-up figures and by those of real small models."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moovitamix.recommend import verdict
from moovitamix.recommend.als import AlsModel, AlsParameters, fit_als
from moovitamix.recommend.gate import Decision, hold_back, judge
from moovitamix.recommend.likeness import differences, same_configuration
from moovitamix.recommend.matrix import MatrixParameters
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.registry import ModelVersion
from moovitamix.recommend.split import Split, split_by_time
from moovitamix_tests.recommend.conftest import AS_OF, tasteful_plays
from moovitamix_tests.recommend.judging import Evidence, evidence, judge_models, model_version

GOOD = (0.05, 0.09)
EVEN = (-0.01, 0.01)
BAD = (-0.09, -0.05)

CHAMPION = model_version(1, status="champion", data="older", judged_against=None)
REFRESH = model_version(2)
NEW = model_version(3, alpha=5.0)


def decide(found: Evidence, candidate: ModelVersion = NEW) -> Decision:
    return judge(found, candidate, CHAMPION)


# --- a new configuration ----------------------------------------------------


def test_a_new_configuration_that_is_clearly_better_is_promoted() -> None:
    found = decide(evidence({"champion": GOOD, "popularity": GOOD}))
    assert (found.promoted, found.verdict) == (True, "better than the champion")
    assert not found.provisional
    assert {criterion.passed for criterion in found.criteria[:4]} == {True}


@pytest.mark.parametrize(
    ("found", "because"),
    [
        (evidence({"champion": EVEN, "popularity": GOOD}), "less champion"),
        (evidence({"champion": BAD, "popularity": GOOD}), "less champion"),
        (evidence({"champion": GOOD, "popularity": EVEN}), "less popularity"),
        (evidence({"champion": GOOD, "popularity": GOOD}, users=30), "users to judge by"),
        (evidence({"champion": GOOD, "popularity": GOOD}, coverage=0.14), "coverage@10"),
        (
            evidence({"champion": GOOD, "popularity": GOOD}, replay={"champion": BAD}),
            "with repeats",
        ),
        (evidence({"popularity": GOOD}), "not judged"),
    ],
    ids=["equal", "worse", "not popularity", "few users", "collapsed", "repeats", "not compared"],
)
def test_a_new_configuration_that_misses_one_thing_is_not_promoted_and_told_which(
    found: Evidence, because: str
) -> None:
    decision = decide(found)
    assert not decision.promoted
    assert decision.reason.startswith("The champion stays")
    missed = decision.reason.partition("Not met: ")[2]
    assert because in missed
    assert missed.count("asked for is") == (2 if because == "not judged" else 1)


# --- a refresh --------------------------------------------------------------


def test_a_refresh_that_is_equal_is_promoted() -> None:
    found = decide(evidence({"production": (-0.004, 0.004), "popularity": GOOD}), REFRESH)
    assert (found.promoted, found.verdict) == (True, "no worse than production")


def test_a_refresh_that_is_worse_than_the_margin_is_not_promoted() -> None:
    # Production's NDCG is 0.215, the margin 0.0108.
    found = decide(evidence({"production": (-0.02, -0.01), "popularity": GOOD}), REFRESH)
    assert (found.promoted, found.verdict) == (False, "worse than production")
    assert "candidate less production" in found.reason.partition("Not met")[2]


def test_a_refresh_that_is_surely_worse_but_by_little_is_promoted() -> None:
    found = decide(evidence({"production": (-0.009, -0.001), "popularity": GOOD}), REFRESH)
    assert (found.promoted, found.verdict) == (True, "no worse than production")


def test_a_refresh_that_cannot_be_told_from_production_is_promoted_and_it_is_said() -> None:
    found = decide(evidence({"production": (-0.04, 0.01), "popularity": GOOD}), REFRESH)
    assert (found.promoted, found.verdict) == (True, "cannot tell from production")


def test_a_refresh_whose_lists_have_collapsed_is_not_promoted() -> None:
    found = evidence({"production": EVEN, "popularity": GOOD}, coverage=0.1)
    assert not decide(found, REFRESH).promoted


@pytest.mark.parametrize(
    "found",
    [
        evidence({"production": BAD, "popularity": EVEN}, fresh_days=2),
        evidence({"production": BAD, "popularity": BAD}, users=30),
        evidence({"popularity": EVEN}),
    ],
    ids=["few fresh days", "few users", "production not judged"],
)
def test_a_refresh_on_too_little_evidence_is_only_judged_sound(found: Evidence) -> None:
    decision = decide(found, REFRESH)
    assert (decision.promoted, decision.verdict) == (True, "sound")
    assert decision.provisional
    assert "too little" in decision.reason


def test_a_refresh_that_popularity_beats_is_not_sound() -> None:
    decision = decide(evidence({"popularity": BAD}, fresh_days=0), REFRESH)
    assert (decision.promoted, decision.verdict) == (False, "not sound")


def test_the_champions_configuration_on_the_same_data_is_nothing_new() -> None:
    decision = decide(evidence({"popularity": GOOD}), replace(REFRESH, matrix_fingerprint="older"))
    assert (decision.promoted, decision.verdict) == (False, "nothing new")


# --- champions of other kinds -----------------------------------------------


def test_figures_against_another_champion_decide_nothing() -> None:
    stale = replace(NEW, judged_against=0)
    decision = decide(evidence({"champion": GOOD, "popularity": GOOD}), stale)
    assert not decision.promoted
    assert "materialize `model_evaluation` again" in decision.reason


@pytest.mark.parametrize(("gain", "promoted"), [(GOOD, True), (EVEN, False), (BAD, False)])
def test_where_popularity_is_served_als_has_to_beat_it(
    gain: tuple[float, float], promoted: bool
) -> None:
    champion = replace(CHAMPION, algorithm="popularity")
    decision = judge(evidence({"popularity": gain}), REFRESH, champion)
    assert (decision.promoted, decision.algorithm) == (promoted, "als")


@pytest.mark.parametrize(
    ("gain", "users", "expected"),
    [
        (GOOD, 400, ("better than popularity", "als", False)),
        (EVEN, 400, ("cannot tell", "als", True)),
        (BAD, 400, ("worse than popularity", "popularity", True)),
        (BAD, 30, ("cannot tell", "als", True)),
    ],
)
def test_the_first_candidate_is_always_promoted(
    gain: tuple[float, float], users: int, expected: tuple[str, str, bool]
) -> None:
    found = judge(evidence({"popularity": gain}, users=users), NEW, None)
    assert found.promoted
    assert (found.verdict, found.algorithm, found.provisional) == expected


def test_a_pinned_champion_holds_back_promotions_and_nothing_else() -> None:
    promoted = decide(evidence({"champion": GOOD, "popularity": GOOD}))
    held_back = hold_back(promoted, 1)
    assert (held_back.promoted, held_back.verdict) == (False, "pinned")
    assert held_back.criteria == promoted.criteria
    refused = decide(evidence({"champion": BAD, "popularity": GOOD}))
    assert hold_back(refused, 1) == refused


interval = st.tuples(st.floats(-0.15, 0.15), st.floats(0, 0.1)).map(lambda x: (x[0], x[0] + x[1]))


@settings(max_examples=150)
@given(interval, interval, interval, st.floats(0.001, 0.05), st.integers(0, 200))
def test_better_figures_never_undo_a_promotion(
    first: tuple[float, float],
    second: tuple[float, float],
    third: tuple[float, float],
    better: float,
    users: int,
) -> None:
    def verdict_on(add: float, candidate: ModelVersion) -> bool:
        shifted = [(low + add, high + add) for low, high in (first, second, third)]
        gains = dict(zip(("champion", "production", "popularity"), shifted, strict=True))
        return decide(evidence(gains, users=users, ndcg=0.5 + add), candidate).promoted

    for candidate in (NEW, REFRESH):
        assert verdict_on(better, candidate) >= verdict_on(0.0, candidate)


# --- configurations ---------------------------------------------------------


def test_what_the_data_made_of_a_configuration_does_not_make_it_another() -> None:
    old = {"matrix": {"weighting": "log1p"}, "als": {"factors": 64, "regularization": 100.0}}
    thin = {
        "matrix": {"weighting": "log1p", "half_life_days": None, "window_days": None},
        "als": {"factors": 64, "regularization": 3.0},
        "found": {"by": "tuning", "regularization": 100.0},
    }
    assert same_configuration(old, thin)
    other = {"als": {"factors": 64, "alpha": 5.0}, "blend": {"item_item": 0.2}}
    assert differences(old, other) == [("als.alpha", 20.0, 5.0), ("blend.item_item", None, 0.2)]


# --- real small models ------------------------------------------------------

SMALL = AlsParameters(factors=16, alpha=10.0, regularization=5.0, iterations=6)


@pytest.fixture(scope="module")
def split() -> Split:
    """The last 7 of 30 days of users with tastes are the future."""
    return split_by_time(tasteful_plays(plays=5_000), AS_OF, 7)


def fit(split: Split, parameters: AlsParameters = SMALL, *, older_by: int = 0) -> AlsModel:
    until = split.as_of - timedelta(days=older_by)
    end = pl.lit(until + timedelta(days=1)).cast(split.past.schema["listened_at"])
    plays = split.past.filter(pl.col("listened_at") < end)
    return fit_als(build_matrix(plays, MatrixParameters(), until), parameters)


@pytest.fixture(scope="module")
def fitted(split: Split) -> AlsModel:
    return fit(split)


def scrambled(model: AlsModel, share: float) -> AlsModel:
    """A model that has a share of its tracks' factors wrong: those of other tracks."""
    chance = np.random.default_rng(1)
    factors = model.item_factors.copy()
    wrong = chance.choice(len(factors), int(share * len(factors)), replace=False)
    factors[wrong] = factors[chance.permutation(wrong)]
    return replace(model, item_factors=factors)


def test_of_real_models_the_better_configuration_wins_and_never_the_other_way(
    split: Split, fitted: AlsModel
) -> None:
    poor = fit(split, replace(SMALL, factors=2, iterations=2))
    better = judge_models(split, {"candidate": fitted, "champion": poor})
    worse = judge_models(split, {"candidate": poor, "champion": fitted})
    equal = judge_models(split, {"candidate": fit(split), "champion": fitted})
    assert [decide(found).promoted for found in (better, worse, equal)] == [True, False, False]
    assert decide(better).verdict == "better than the champion"


def test_luck_on_few_users_does_not_promote(split: Split, fitted: AlsModel) -> None:
    poor = fit(split, replace(SMALL, factors=2, iterations=2))
    users = split.future["user_id"].unique().sort()[:20].to_list()
    few = replace(split, future=split.future.filter(pl.col("user_id").is_in(users)))
    found = judge_models(few, {"candidate": fitted, "champion": poor})
    assert found.differences["discovery"]["champion"].low > 0
    decision = decide(found)
    assert (decision.promoted, decision.verdict) == (False, "cannot tell")


def test_of_real_models_a_refresh_is_promoted_and_a_broken_one_is_not(
    split: Split, fitted: AlsModel
) -> None:
    production = fit(split, older_by=8)
    good = judge_models(split, {"candidate": fitted, "production": production})
    broken = judge_models(split, {"candidate": scrambled(fitted, 0.5), "production": production})
    assert decide(good, REFRESH).verdict == "no worse than production"
    assert decide(broken, REFRESH).verdict == "worse than production"


# --- told -------------------------------------------------------------------


def test_a_verdict_is_told_with_every_criterion_and_drawn() -> None:
    decision = decide(evidence({"champion": EVEN, "popularity": GOOD}))
    text = verdict.markdown(decision)
    for criterion in decision.criteria:
        assert f"| {criterion.name} | {criterion.value} | {criterion.bound} |" in text
    drawn = [criterion for criterion in decision.criteria if criterion.figure]
    assert verdict.plot(drawn).count("<circle") == len(drawn) == 3
