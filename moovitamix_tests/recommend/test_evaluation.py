"""An evaluation tells a good model from popularity, and the gate acts on what it tells."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from datetime import date, timedelta
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import ndcg_score

from moovitamix.recommend import figures
from moovitamix.recommend.als import AlsParameters, fit_als, fold_in
from moovitamix.recommend.contest import Rival
from moovitamix.recommend.evaluate import evaluate
from moovitamix.recommend.evaluation import Evaluation, EvaluationRules
from moovitamix.recommend.gate import judge_first
from moovitamix.recommend.matrix import INTERACTIONS, MatrixParameters
from moovitamix.recommend.matrix_building import build_matrix
from moovitamix.recommend.metrics import Figure
from moovitamix.recommend.split import split_by_time
from moovitamix_tests.recommend.conftest import AS_OF, random_plays, tasteful_plays

SVG = "{http://www.w3.org/2000/svg}"
RULES = EvaluationRules(resamples=100)
QUICK = AlsParameters(factors=16, regularization=30.0)


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(tasteful_plays(), AS_OF, MatrixParameters(), QUICK, RULES)


def with_difference(evaluation: Evaluation, low: float, high: float) -> Evaluation:
    gain = {"popularity": Figure((low + high) / 2, low, high)}
    return replace(evaluation, differences={"discovery": gain, "replay": {}})


def rival(as_of: date, parameters: AlsParameters = QUICK) -> Rival:
    """A champion fitted to the plays up to a day."""
    model = fit_als(build_matrix(tasteful_plays(), MatrixParameters(), as_of), parameters)
    return Rival(MatrixParameters(), parameters, model)


def test_users_with_tastes_are_predicted_better_than_by_popularity(evaluation: Evaluation) -> None:
    assert evaluation.split == "temporal"
    assert evaluation.cut_off == "2026-11-16T00:00:00"
    assert evaluation.users > 200
    decision = judge_first(evaluation)
    assert (decision.verdict, decision.algorithm) == ("better than popularity", "als")
    assert not decision.provisional


def test_every_figure_has_an_interval_around_it(evaluation: Evaluation) -> None:
    measures = {"ndcg", "recall", "map", "precision", "coverage", "novelty"}
    baselines = {"candidate", "popularity", "item-item", "ease"}
    assert set(evaluation.figures["discovery"]) == baselines
    assert set(evaluation.figures["replay"]) == baselines | {"own plays"}
    for task in ("discovery", "replay"):
        for measured in evaluation.figures[task].values():
            assert set(measured) == measures | {f"{name}@20" for name in measures}
            for name, figure in measured.items():
                assert -1e-9 < figure.low <= figure.value + 1e-9
                assert figure.value - 1e-9 <= figure.high
                assert figure.high <= 1 or name.startswith("novelty")


def test_differences_are_those_of_the_ndcgs(evaluation: Evaluation) -> None:
    for task in ("discovery", "replay"):
        measured = evaluation.figures[task]
        assert set(evaluation.differences[task]) == set(measured) - {"candidate"}
        for ranker, gain in evaluation.differences[task].items():
            expected = measured["candidate"]["ndcg"].value - measured[ranker]["ndcg"].value
            assert gain.value == pytest.approx(expected)


def test_the_figures_are_those_that_scikit_learn_finds_on_the_whole_catalogue(
    evaluation: Evaluation,
) -> None:
    split = split_by_time(tasteful_plays(), AS_OF, RULES.test_days)
    past = build_matrix(split.past, MatrixParameters(), split.as_of)
    scores = fold_in(fit_als(past, QUICK), past) @ fit_als(past, QUICK).item_factors.T
    heard = past.values.toarray() > 0
    relevant = np.zeros(scores.shape, dtype=bool)
    future = split.future.filter(
        pl.col("user_id").is_in(past.users), pl.col("track_id").is_in(past.tracks)
    )
    relevant[
        np.searchsorted(past.users, future["user_id"].to_numpy()),
        np.searchsorted(past.tracks, future["track_id"].to_numpy()),
    ] = True
    for task, wanted in (("discovery", relevant & ~heard), ("replay", relevant)):
        shown = np.where(heard, -1e9, scores) if task == "discovery" else scores
        asked = wanted.any(axis=1)
        expected = ndcg_score(wanted[asked], shown[asked], k=10)
        found = evaluation.figures[task]["candidate"]["ndcg"].value
        assert found == pytest.approx(expected, abs=1e-4)


def test_a_champions_configuration_is_fitted_to_the_same_past_where_it_differs() -> None:
    poor = rival(AS_OF, replace(QUICK, factors=1))
    judged = evaluate(tasteful_plays(), AS_OF, MatrixParameters(), QUICK, RULES, champion=poor)
    assert set(judged.differences["discovery"]) == {"champion", "popularity", "item-item", "ease"}
    assert judged.differences["discovery"]["champion"].low > 0
    assert judged.fresh_days == 0
    assert set(judged.rmse) == {"all zeros", "candidate", "champion"}


def test_a_configuration_is_judged_by_what_it_makes_of_a_past_much_thinner_than_the_data() -> None:
    first_days = pl.col("listened_at").dt.date() > AS_OF - timedelta(days=9)
    young = tasteful_plays().filter(first_days)
    judged = evaluate(young, AS_OF, MatrixParameters(), AlsParameters(), RULES)
    # With the regularization that all of the data stands, two days of it give one list for all.
    assert judged.split == "temporal"
    assert judged.figures["discovery"]["candidate"]["ndcg"].low > 0.25
    assert judged.figures["discovery"]["candidate"]["coverage"].value > 0.8


def test_production_is_judged_as_it_stands_once_its_data_ended_before_the_test() -> None:
    before = AS_OF - timedelta(days=RULES.test_days)
    judged = evaluate(
        tasteful_plays(), AS_OF, MatrixParameters(), QUICK, RULES, champion=rival(before)
    )
    assert "champion" not in judged.figures["discovery"]
    # Fitted to the same past by the same configuration: the same lists.
    gain = judged.differences["discovery"]["production"]
    assert (gain.low, gain.value, gain.high) == pytest.approx((0, 0, 0))
    assert judged.fresh_days == RULES.test_days
    later = rival(before + timedelta(days=3))
    judged = evaluate(tasteful_plays(), AS_OF, MatrixParameters(), QUICK, RULES, champion=later)
    assert "production" not in judged.figures["discovery"]
    assert judged.fresh_days == RULES.test_days - 3


def test_segments_divide_the_users_and_the_relevant_tracks() -> None:
    plays = tasteful_plays()
    late = pl.col("track_id").is_in([5, 8, 11, 14])
    start = AS_OF - timedelta(days=RULES.test_days + 10)
    judged = evaluate(
        plays.filter(~(late & (pl.col("listened_at").dt.date() < start))),
        AS_OF,
        MatrixParameters(),
        QUICK,
        RULES,
    )
    found = judged.segments["replay"]
    assert set(found) == {"light listeners", "heavy listeners", "new tracks", "old tracks"}
    light, heavy = (found[name]["candidate"].value for name in list(found)[:2])
    assert min(light, heavy) < judged.figures["replay"]["candidate"]["ndcg"].value
    assert max(light, heavy) > judged.figures["replay"]["candidate"]["ndcg"].value


def test_a_baseline_that_ranks_better_is_told_of_first(evaluation: Evaluation) -> None:
    beaten = replace(
        evaluation,
        differences={
            "discovery": {**evaluation.differences["discovery"], "ease": Figure(-0.2, -0.3, -0.1)},
            "replay": {**evaluation.differences["replay"], "own plays": Figure(-0.2, -0.3, 0.1)},
        },
    )
    (warning,) = figures.warnings(beaten)
    assert warning.startswith("In discovery, the baseline EASE ranks better than ALS")
    assert figures.sentence(beaten).startswith(warning)
    assert figures.table(beaten).startswith(f"**{warning}")
    assert figures.warnings(replace(beaten, users=49)) == []


def test_a_catalogue_too_large_to_invert_goes_without_ease() -> None:
    rules = replace(RULES, ease_tracks=159)
    judged = evaluate(tasteful_plays(), AS_OF, MatrixParameters(), QUICK, rules)
    assert judged.catalogue == 160
    assert "ease" not in judged.figures["discovery"]


def test_strangers_of_the_future_are_counted(evaluation: Evaluation) -> None:
    plays = tasteful_plays()
    last = plays.filter(pl.col("listened_at") == plays["listened_at"].max())
    strange = pl.concat(
        [last.with_columns(user_id=-1), last.with_columns(track_id=-1)], how="vertical_relaxed"
    )
    more = pl.concat([plays, strange.cast(INTERACTIONS)])
    judged = evaluate(more, AS_OF, MatrixParameters(), QUICK, RULES)
    assert (evaluation.cold_users, evaluation.cold_tracks) == (0, 0)
    users = plays.filter(pl.col("listened_at").dt.date() > AS_OF - timedelta(days=7))
    assert judged.cold_users == pytest.approx(1 / (users["user_id"].n_unique() + 1))
    assert judged.cold_tracks == pytest.approx(1 / (users["track_id"].n_unique() + 1))


def test_what_an_earlier_version_recorded_is_read(evaluation: Evaluation) -> None:
    old = evaluation.to_json()
    measured, gain = old.pop("figures"), old.pop("differences")["discovery"]["popularity"]
    for name in ("replay_users", "replays", "segments", "rmse", "fresh_days", "cold_users"):
        del old[name]
    bare = ("ndcg", "recall", "map", "precision", "coverage")
    old["figures"] = {
        name: {measure: measured["discovery"][ranker][measure] for measure in bare}
        for name, ranker in (("als", "candidate"), ("popularity", "popularity"))
    }
    old["difference"] = gain
    old["rules"] = {"k": 10, "test_days": 7, "minimum_users": 50, "resamples": 300, "seed": 1}
    read = Evaluation.from_json(json.loads(json.dumps(old)))
    assert read.differences["discovery"] == {
        "popularity": evaluation.differences["discovery"]["popularity"]
    }
    assert [row[0] for row in figures.rows(read)] == [
        "NDCG", "recall", "MAP", "precision", "coverage"
    ]  # fmt: skip
    assert str(read.figures["discovery"]["candidate"]["ndcg"]) in figures.table(read)
    assert figures.sentence(read) == figures.sentence(evaluation)


def test_an_evaluation_is_the_same_when_done_again(evaluation: Evaluation) -> None:
    shuffled = tasteful_plays().sample(fraction=1, shuffle=True, seed=1)
    assert evaluate(shuffled, AS_OF, MatrixParameters(), QUICK, RULES) == evaluation


def test_an_evaluation_survives_json(evaluation: Evaluation) -> None:
    assert Evaluation.from_json(json.loads(json.dumps(evaluation.to_json()))) == evaluation


def test_random_plays_of_one_record_a_user_cannot_tell_and_are_served_provisionally() -> None:
    evaluation = evaluate(random_plays(), AS_OF, MatrixParameters(), QUICK, RULES)
    decision = judge_first(evaluation)
    assert evaluation.split == "per-user hold-out"
    assert evaluation.users > 900
    assert (decision.verdict, decision.algorithm) == ("cannot tell", "als")
    assert decision.provisional
    assert "per-user hold-out" in decision.reason
    assert evaluation.figures["replay"] == {}
    assert evaluation.fresh_days == 0


def test_plays_without_any_taste_but_fashion_are_better_served_by_popularity() -> None:
    chance = np.random.default_rng(4)
    size = 12_000
    plays = pl.DataFrame(
        {
            "user_id": chance.integers(0, 300, size),
            "track_id": (400 * chance.random(size) ** 3).astype(np.int64),
            "listened_at": tasteful_plays(plays=size)["listened_at"],
        }
    ).cast(INTERACTIONS)
    thin = replace(QUICK, factors=64, regularization=1.0)
    decision = judge_first(evaluate(plays, AS_OF, MatrixParameters(), thin, RULES))
    assert (decision.verdict, decision.algorithm) == ("worse than popularity", "popularity")


def test_with_nobody_to_judge_by_nothing_is_told_and_nothing_fails() -> None:
    alone = random_plays().group_by("user_id").head(1)
    evaluation = evaluate(alone, AS_OF, MatrixParameters(), QUICK, RULES)
    assert (evaluation.users, evaluation.replay_users, evaluation.rmse) == (0, 0, {})
    assert evaluation.figures == {"discovery": {}, "replay": {}}
    assert evaluation.differences == {"discovery": {}, "replay": {}}
    assert judge_first(evaluation).verdict == "cannot tell"
    assert Evaluation.from_json(json.loads(json.dumps(evaluation.to_json()))) == evaluation
    assert figures.table(evaluation).startswith("No user")


@pytest.mark.parametrize(
    ("low", "high", "verdict", "algorithm", "provisional"),
    [
        (0.001, 0.02, "better than popularity", "als", False),
        (0.0, 0.02, "cannot tell", "als", True),
        (-0.01, 0.02, "cannot tell", "als", True),
        (-0.02, 0.0, "cannot tell", "als", True),
        (-0.02, -0.001, "worse than popularity", "popularity", True),
    ],
)
def test_the_paired_interval_decides(
    evaluation: Evaluation, low: float, high: float, verdict: str, algorithm: str, provisional: bool
) -> None:
    decision = judge_first(with_difference(evaluation, low, high))
    assert (decision.verdict, decision.algorithm, decision.provisional) == (
        verdict,
        algorithm,
        provisional,
    )


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.2), (-0.2, -0.1)])
def test_too_few_users_tell_nothing(evaluation: Evaluation, low: float, high: float) -> None:
    few = replace(with_difference(evaluation, low, high), users=49)
    decision = judge_first(few)
    assert decision.verdict == "cannot tell"
    assert "fewer than 50 users" in decision.reason


def test_a_reason_is_a_sentence_with_the_figures(evaluation: Evaluation) -> None:
    als = evaluation.figures["discovery"]["candidate"]["ndcg"].value
    assert f"NDCG@10 is {als:.4f} for the candidate" in judge_first(evaluation).reason


def test_the_table_holds_every_figure(evaluation: Evaluation) -> None:
    table = figures.table(evaluation)
    for task in ("discovery", "replay"):
        for measured in evaluation.figures[task].values():
            for figure in measured.values():
                assert str(figure) in table
        for gain in evaluation.differences[task].values():
            assert str(gain) in table
    for figure in evaluation.rmse.values():
        assert str(figure) in table


def test_the_plot_holds_all_rankers_on_one_scale(evaluation: Evaluation) -> None:
    (discovery, replay) = re.findall(
        r"!\[NDCG@10 of all rankers\]\(data:image/svg\+xml;base64,(.*?)\)",
        figures.table(evaluation),
    )
    for picture, task in ((discovery, "discovery"), (replay, "replay")):
        drawn = ET.fromstring(base64.b64decode(picture))  # noqa: S314 - our own
        across = [float(dot.attrib["cx"]) for dot in drawn.iter(f"{SVG}circle")]
        measured = [of["ndcg"].value for of in evaluation.figures[task].values()]
        assert np.argsort(across).tolist() == np.argsort(measured).tolist()
        assert "ALS" in [text.text for text in drawn.iter(f"{SVG}text")]


def test_no_table_is_wider_than_the_panel_that_shows_it(evaluation: Evaluation) -> None:
    rows = [line for line in figures.table(evaluation).splitlines() if line.startswith("|")]

    assert max(line.count("|") for line in rows) <= 9
