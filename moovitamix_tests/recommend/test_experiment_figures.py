"""Figures of an experiment: intervals hold what they promise, and the verdict rests on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from moovitamix.recommend.experiment_figures import (
    COUNTS,
    LEAST_USERS,
    Outcome,
    compare_arms,
    verdict_of,
)


def counts(
    rng: np.random.Generator,
    users: int,
    *,
    plays: tuple[float, float] = (3.0, 3.0),
    clicks: tuple[float, float] | None = None,
    skips: tuple[float, float] = (0.2, 0.2),
) -> pl.DataFrame:
    """Users who differ much, as they do; pairs are of champion and challenger."""
    second = rng.random(users) < 0.5
    fond = rng.gamma(0.7, 1 / 0.7, users)
    shown = 1 + rng.poisson(20 * fond) if clicks else np.zeros(users, dtype=np.int64)
    likes = rng.beta(2, 8, users) * 5 if clicks else np.zeros(users)
    chance = np.where(second, *(clicks or (0.0, 0.0))[::-1])
    skip_chance = np.where(second, *skips[::-1])
    return pl.DataFrame(
        {
            "user_id": np.arange(users),
            "arm": np.where(second, "challenger", "champion"),
            "plays": rng.poisson(np.where(second, *plays[::-1]) * fond),
            "impressions": shown,
            "clicks": rng.binomial(shown, np.minimum(chance * likes, 1)),
            "skips": rng.binomial(shown, skip_chance),
            "followed": rng.binomial(shown, 0.05),
        },
        schema=COUNTS,
    )


def named(outcome: Outcome, name: str) -> tuple[float, float, float]:
    found = next(one for one in outcome.figures if one.name == name).difference
    return found.value, found.low, found.high


def test_figures_are_ratios_of_sums_over_users() -> None:
    frame = pl.DataFrame(
        [
            (1, "champion", 2, 10, 1, 2, 1),
            (2, "champion", 4, 30, 5, 2, 1),
            (3, "challenger", 9, 10, 4, 1, 2),
            (4, "challenger", 1, 10, 1, 1, 0),
            (5, "challenger", 0, 0, 0, 0, 0),
        ],
        schema=COUNTS,
        orient="row",
    )
    outcome = compare_arms(frame, 0.5)
    by_name = {one.name: one for one in outcome.figures}
    assert outcome.users == {"champion": 2, "challenger": 3}
    assert by_name["click-through"].arms["champion"].value == pytest.approx(6 / 40)
    assert by_name["click-through"].arms["challenger"].value == pytest.approx(5 / 20)
    assert by_name["click-through"].users == {"champion": 2, "challenger": 2}
    assert by_name["skip rate"].difference.value == pytest.approx(2 / 20 - 4 / 40)
    assert by_name["plays per user"].arms["challenger"].value == pytest.approx(10 / 3)
    assert by_name["listens after recommendation"].arms["champion"].value == pytest.approx(2 / 40)
    assert outcome.figures[0].name == "plays per user"  # too few saw anything


def test_intervals_of_a_ratio_are_those_of_a_bootstrap_over_users() -> None:
    frame = counts(np.random.default_rng(3), 3_000, clicks=(0.1, 0.1))
    found = next(one for one in compare_arms(frame, 0.5).figures if one.name == "click-through")
    arm = frame.filter(pl.col("arm") == "champion")
    clicks, shown = arm["clicks"].to_numpy(), arm["impressions"].to_numpy()
    drawn = np.random.default_rng(4).integers(len(arm), size=(2_000, len(arm)))
    low, high = np.percentile(clicks[drawn].sum(1) / shown[drawn].sum(1), [2.5, 97.5])
    width = high - low
    assert found.arms["champion"].low == pytest.approx(low, abs=width / 10)
    assert found.arms["champion"].high == pytest.approx(high, abs=width / 10)
    # Impressions as the unit would have told far less than the truth.
    ratio = clicks.sum() / shown.sum()
    assert width > 1.3 * 2 * 1.96 * np.sqrt(ratio * (1 - ratio) / shown.sum())


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    held = {"plays per user": 0, "click-through": 0}
    runs = 300
    for _ in range(runs):
        outcome = compare_arms(counts(rng, 600, plays=(3, 3.5), clicks=(0.1, 0.1)), 0.5)
        for name, truth in (("plays per user", 0.5), ("click-through", 0.0)):
            _, low, high = named(outcome, name)
            held[name] += low <= truth <= high
    # 95 % of 300 is 285; three standard deviations are 11.
    assert all(270 <= found <= 298 for found in held.values()), held


def test_a_difference_as_large_as_is_called_detectable_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(12)
    detectable = compare_arms(counts(rng, 2_000), 0.5).figures[0].detectable
    found = sum(
        verdict_of(compare_arms(counts(rng, 2_000, plays=(3, 3 + detectable)), 0.5))[0]
        == "challenger better"
        for _ in range(200)
    )
    assert 135 <= found <= 182, found  # the larger mean has the larger variance


def test_without_feedback_the_verdict_rests_on_plays_with_it_on_click_through() -> None:
    rng = np.random.default_rng(5)
    assert verdict_of(compare_arms(counts(rng, 4_000, plays=(3, 4)), 0.5))[0] == (
        "challenger better"
    )
    assert verdict_of(compare_arms(counts(rng, 4_000, plays=(4, 3)), 0.5))[0] == "champion better"
    verdict, why = verdict_of(compare_arms(counts(rng, 4_000), 0.5))
    assert verdict == "cannot tell"
    assert "holds 0" in why
    both = counts(rng, 4_000, plays=(3, 4), clicks=(0.15, 0.1))
    verdict, why = verdict_of(compare_arms(both, 0.5))
    assert verdict == "champion better"
    assert why.startswith("Click-through")


def test_more_clicks_with_more_skips_are_not_called_better() -> None:
    frame = counts(np.random.default_rng(6), 4_000, clicks=(0.1, 0.15), skips=(0.2, 0.3))
    verdict, why = verdict_of(compare_arms(frame, 0.5))
    assert verdict == "cannot tell"
    assert "skipped" in why


def test_few_users_or_a_lopsided_division_tell_nothing() -> None:
    rng = np.random.default_rng(8)
    few = counts(rng, LEAST_USERS, plays=(1, 50))
    verdict, why = verdict_of(compare_arms(few, 0.5))
    assert verdict == "cannot tell"
    assert "Fewer than" in why
    many = counts(rng, 4_000, plays=(3, 4))
    verdict, why = verdict_of(compare_arms(many, 0.4))
    assert verdict == "cannot tell"
    assert "not divided" in why
    assert verdict_of(compare_arms(many, 0.5))[0] == "challenger better"


def test_nothing_at_all_is_no_fault() -> None:
    nobody = compare_arms(pl.DataFrame(schema=COUNTS), 0.5)
    assert nobody.figures == ()
    assert verdict_of(nobody)[0] == "cannot tell"
    silent = counts(np.random.default_rng(1), 500, plays=(0, 0))
    assert compare_arms(silent, 0.5).figures == ()
    assert verdict_of(replace(nobody, mismatch=0.0))[0] == "cannot tell"


def test_few_users_who_do_far_more_than_others_do_not_decide_for_a_small_arm() -> None:
    """Chance claims a winner more often than it may where the interval alone is asked."""
    rng = np.random.default_rng(9)
    claimed, doubted, crossed = 0, 0, 0
    for _ in range(200):
        frame = counts(rng, 2_000).with_columns(
            pl.Series("plays", np.round(np.exp(rng.normal(3, 2, 2_000))).astype(np.int64)),
            pl.Series("arm", np.where(np.arange(2_000) < 120, "challenger", "champion")),
        )
        outcome = compare_arms(frame, 0.06)
        verdict, why = verdict_of(outcome)
        claimed += verdict != "cannot tell"
        doubted += "an arm is too small" in why
        difference = outcome.figures[0].difference
        crossed += not difference.low <= 0 <= difference.high
    assert crossed > 15, "of 200, 10 would be one in 20"
    assert claimed == 0
    assert doubted > 190
